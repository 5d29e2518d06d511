// The kernel's network interfaces by netlink (libnl-route): what everybody needs who looks one up or changes it.
// A library of its own (remus_route_link), so that only those who use it link libnl.
#pragma once

#include <netlink/route/link.h>
#include <netlink/socket.h>

#include <memory>
#include <string>

#include "base/error.hpp"

namespace remus::netlink {

using Socket = std::unique_ptr<nl_sock, decltype(&nl_socket_free)>;
using Link = std::unique_ptr<rtnl_link, decltype(&rtnl_link_put)>;

/// Errors: exhausted, io.
[[nodiscard]] Result<Socket> route_socket();
/// Asks the kernel, not a cache. Errors: not_found.
[[nodiscard]] Result<Link> link_named(nl_sock* socket, const std::string& name);

}  // namespace remus::netlink
