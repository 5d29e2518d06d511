// What we ask of the kernel's network by netlink, each with a sentence for when it fails.
#pragma once

#include <string>

#include "base/route_link.hpp"

namespace remus::output::netlink {

using remus::netlink::Link;
using remus::netlink::link_named;
using remus::netlink::route_socket;
using remus::netlink::Socket;

/// Makes an ifb interface with one queue, switched off. Errors: exists, unsupported (no module ifb).
[[nodiscard]] Status add_ifb(nl_sock* socket, const std::string& name);
/// Gives an interface an alias and switches it on or off.
[[nodiscard]] Status set_link(nl_sock* socket, rtnl_link* link, const std::string& alias, bool up);
[[nodiscard]] Status delete_link(nl_sock* socket, rtnl_link* link);

/// True if it was added, false if the interface has one already. Errors: unsupported (no module sch_ingress).
[[nodiscard]] Result<bool> add_ingress(nl_sock* socket, int interface_index, const std::string& interface);
[[nodiscard]] Status delete_ingress(nl_sock* socket, int interface_index);

enum class Filters { none, later_than_ours, first_is_taken };
/// What is in the way of ours at an interface's ingress.
[[nodiscard]] Result<Filters> ingress_filters(nl_sock* socket, int interface_index);
/// The filter that leads all an interface takes in to another one, before any other filter.
[[nodiscard]] Status add_redirect(nl_sock* socket, int interface_index, int to_index);
[[nodiscard]] Status delete_redirect(nl_sock* socket, int interface_index);

}  // namespace remus::output::netlink
