#include "output/plug_tap.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace remus::output {

Result<PlugTap> PlugTap::open(const std::string& interface, int index) {
  const auto failed = [&](const char* what) {
    return fail_errno(errno, fmt::format("cannot {} on '{}'", what, interface), "run as root");
  };
  Fd fd{::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!fd) return failed("open a packet socket");
  const int on = 1;
  if (::setsockopt(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0)
    return failed("ignore what goes to the guest");
  const int room_bytes = 1;  // the kernel raises it to its least
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &room_bytes, sizeof room_bytes) != 0)
    return failed("set a packet socket's buffer");
  std::array first_byte{sock_filter{BPF_RET | BPF_K, 0, 0, 1}};
  const sock_fprog program{first_byte.size(), first_byte.data()};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    return failed("set a packet socket's filter");
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = index;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what the socket interface asks for
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failed("listen for packets");
  return PlugTap{std::move(fd)};
}

bool PlugTap::drain() noexcept {
  bool any = false;
  std::array<char, 8> byte{};
  while (fd_) {
    // NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection): it does not wait
    const ssize_t got = ::recv(fd_.get(), byte.data(), byte.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) close();
      break;
    }
    any = true;
  }
  return any;
}

}  // namespace remus::output
