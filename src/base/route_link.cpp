#include "base/route_link.hpp"

#include <fmt/format.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>

namespace remus::netlink {

Result<Socket> route_socket() {
  Socket socket{nl_socket_alloc(), &nl_socket_free};
  if (!socket) return fail(Errc::exhausted, "no memory for a netlink socket");
  if (const int code = nl_connect(socket.get(), NETLINK_ROUTE); code < 0)
    return fail(Errc::io, fmt::format("cannot open netlink: {}", nl_geterror(code)));
  return socket;
}

Result<Link> link_named(nl_sock* socket, const std::string& name) {
  rtnl_link* found = nullptr;
  if (const int code = rtnl_link_get_kernel(socket, 0, name.c_str(), &found); code < 0)
    return fail(Errc::not_found, fmt::format("network interface '{}': {}", name, nl_geterror(code)));
  if (found == nullptr)
    return fail(Errc::io, fmt::format("network interface '{}': the kernel gave no answer", name));
  return Link{found, &rtnl_link_put};
}

}  // namespace remus::netlink
