#include "output/plug_watch.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace remus::output {

Result<PlugWatch> PlugWatch::open() {
  const auto failed = [](const char* what) { return fail_errno(errno, what, "run as root"); };
  Fd fd{::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE)};
  if (!fd) return failed("open netlink");
  // A message begins with its header, in this host's byte order; the filter's loads take the network's.
  constexpr std::uint32_t type_at = offsetof(nlmsghdr, nlmsg_type);
  std::array code{sock_filter{BPF_LD | BPF_H | BPF_ABS, 0, 0, type_at},
                  sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 2, 0, htons(RTM_DELQDISC)},
                  sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 1, 0, htons(RTM_DELTFILTER)},
                  sock_filter{BPF_RET | BPF_K, 0, 0, 0},
                  sock_filter{BPF_RET | BPF_K, 0, 0, ~std::uint32_t{0}}};
  const sock_fprog program{code.size(), code.data()};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    return failed("set a netlink socket's filter");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_TC;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what the socket interface asks for
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failed("watch the host's traffic control");
  return PlugWatch{std::move(fd)};
}

bool PlugWatch::drain() noexcept {
  bool any = false;
  std::array<char, 8> head{};
  while (fd_) {
    // NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection): it does not wait
    const ssize_t got = ::recv(fd_.get(), head.data(), head.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != ENOBUFS) break;  // ENOBUFS: some news did not fit
    any = true;
  }
  return any;
}

}  // namespace remus::output
