#include "hypervisor/xen/restorer/announce.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <thread>

#include "base/fd.hpp"
#include "hypervisor/xen/restorer/toolstack.hpp"

namespace remus::hypervisor::xen::restorer {

namespace {

using Mac = std::array<std::uint8_t, 6>;
using Frame = std::array<std::uint8_t, 60>;  // Ethernet's least

constexpr std::array rounds{std::chrono::milliseconds{0}, std::chrono::milliseconds{50},
                            std::chrono::milliseconds{150}, std::chrono::milliseconds{250}};

/// RFC 903: "what is my protocol address?", asked by the guest's own hardware address.
Frame rarp_request(const Mac& mac) {
  Frame frame{};
  auto at = frame.begin();
  const auto put = [&at](auto bytes) { at = std::copy(bytes.begin(), bytes.end(), at); };
  put(Mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff});
  put(mac);
  put(std::array<std::uint8_t, 2>{0x80, 0x35});                             // RARP
  put(std::array<std::uint8_t, 8>{0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 3});  // Ethernet, IPv4, request reverse
  put(mac);
  put(std::array<std::uint8_t, 4>{});
  put(mac);
  return frame;
}

bool send_out_of(int socket, const char* interface, const Frame& frame) {
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(ETH_P_RARP);
  to.sll_ifindex = static_cast<int>(::if_nametoindex(interface));
  to.sll_halen = ETH_ALEN;
  std::fill_n(to.sll_addr, ETH_ALEN, std::uint8_t{0xff});
  return to.sll_ifindex != 0 && ::sendto(socket, frame.data(), frame.size(), MSG_DONTWAIT,
                                         reinterpret_cast<const sockaddr*>(&to), sizeof to) >= 0;
}

}  // namespace

void announce(const libxl_domain_config& config) {
  const std::span nics{config.nics, static_cast<std::size_t>(config.num_nics)};
  if (nics.empty()) return;
  const Fd socket{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)};
  if (!socket) return log_line(fmt::format("the guest is not announced: {}", std::strerror(errno)));
  for (const auto pause : rounds) {
    std::this_thread::sleep_for(pause);
    for (const auto& nic : nics) {
      if (nic.bridge == nullptr || nic.bridge[0] == '\0') continue;
      Mac mac{};
      std::copy_n(nic.mac, mac.size(), mac.begin());
      if (!send_out_of(socket.get(), nic.bridge, rarp_request(mac)))
        log_line(
            fmt::format("vif {} is not announced on {}: {}", nic.devid, nic.bridge, std::strerror(errno)));
    }
  }
}

}  // namespace remus::hypervisor::xen::restorer
