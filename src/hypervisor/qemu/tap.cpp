#include "hypervisor/qemu/tap.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "base/fd.hpp"
#include "base/route_link.hpp"

namespace remus::hypervisor::qemu {

namespace {

Status change(nl_sock* socket, rtnl_link* link, rtnl_link* wanted, const std::string& what) {
  if (const int code = rtnl_link_change(socket, link, wanted, 0); code < 0)
    return fail(Errc::io, fmt::format("cannot {}: {}", what, nl_geterror(code)), "run as root");
  return {};
}

/// Opens the tap of this name, making it if there is none.
Result<Fd> open_tap(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    return fail(Errc::invalid, fmt::format("'{}' cannot be a network interface's name", name));
  Fd tun{::open("/dev/net/tun", O_RDWR | O_CLOEXEC)};
  if (!tun) return fail_errno(errno, "cannot open /dev/net/tun", "load the kernel module tun");
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (::ioctl(tun.get(), TUNSETIFF, &request) != 0) {
    const int code = errno;
    if (code == EBUSY)
      return fail(Errc::exists, fmt::format("tap '{}' is in use by another process", name),
                  "end that process");
    return fail_errno(code, fmt::format("cannot make tap '{}'", name), "run as root");
  }
  return tun;
}

}  // namespace

Status create_tap(const std::string& name, const std::string& bridge) {
  auto socket = netlink::route_socket();
  if (!socket) return std::unexpected(socket.error());
  netlink::Link master{nullptr, &rtnl_link_put};
  if (!bridge.empty()) {
    auto found = netlink::link_named(socket->get(), bridge);
    if (!found)
      return fail(Errc::not_found,
                  fmt::format("this host has no bridge '{}' for the guest's network", bridge),
                  "make it, or map the primary's bridge to another one in the configuration");
    master = std::move(*found);
  }
  auto tun = open_tap(name);
  if (!tun) return std::unexpected(tun.error());
  if (::ioctl(tun->get(), TUNSETPERSIST, 1) != 0 || ::ioctl(tun->get(), TUNSETOFFLOAD, 0) != 0)
    return fail_errno(errno, fmt::format("cannot set up tap '{}'", name));
  if (!master) return {};
  auto link = netlink::link_named(socket->get(), name);
  if (!link) return std::unexpected(link.error());
  const netlink::Link wanted{rtnl_link_alloc(), &rtnl_link_put};
  rtnl_link_set_master(wanted.get(), rtnl_link_get_ifindex(master.get()));
  rtnl_link_set_mtu(wanted.get(), rtnl_link_get_mtu(master.get()));
  return change(socket->get(), link->get(), wanted.get(),
                fmt::format("put tap '{}' on bridge '{}'", name, bridge));
}

Status set_tap_up(const std::string& name) {
  auto socket = netlink::route_socket();
  if (!socket) return std::unexpected(socket.error());
  auto link = netlink::link_named(socket->get(), name);
  if (!link) return std::unexpected(link.error());
  const netlink::Link wanted{rtnl_link_alloc(), &rtnl_link_put};
  rtnl_link_set_flags(wanted.get(), IFF_UP);
  return change(socket->get(), link->get(), wanted.get(), fmt::format("bring tap '{}' up", name));
}

Status remove_tap(const std::string& name) {
  if (!interface_exists(name)) return {};
  auto socket = netlink::route_socket();
  if (!socket) return std::unexpected(socket.error());
  auto link = netlink::link_named(socket->get(), name);
  if (!link) return {};
  if (const int code = rtnl_link_delete(socket->get(), link->get()); code < 0 && interface_exists(name))
    return fail(Errc::io, fmt::format("cannot remove tap '{}': {}", name, nl_geterror(code)));
  return {};
}

bool interface_exists(const std::string& name) {
  return ::if_nametoindex(name.c_str()) != 0;
}

}  // namespace remus::hypervisor::qemu
