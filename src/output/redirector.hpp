// Holds the output of a running QEMU guest, without any change to its configuration.
//
// By QMP a filter-redirector is put on each netdev: what the guest sends comes to us over a socket pair, what
// we let go goes back in behind the filter and on to the netdev, whatever its kind (tap, stream, socket,
// user).
//
//   guest NIC ─▶ filter ┄ outdev ┄▶ [ held by epoch ] ┄ indev ┄▶ behind the filter ─▶ netdev ─▶ network
//
// One thread reads the sockets so fast that QEMU never waits for us. Held bytes are bounded: at the limit the
// newest packets are dropped and counted, as a full NIC queue would. mark() takes in whatever QEMU wrote
// before the pause.
//
// Until hold(), and again some milliseconds after pass(), packets do not come to us at all. docs/qemu.md
// tells what QEMU does with packets at a stop, and how this works around it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "hypervisor/qemu/domain.hpp"
#include "output/output_buffer.hpp"

namespace remus::output {

struct RedirectorOptions {
  std::vector<std::string> netdevs{};      ///< ids of all netdevs of the guest; may be empty
  std::size_t hold_bytes_max{64UL << 20};  ///< of all netdevs together
  bool hold_inbound{true};                 ///< also keep inbound packets out of QEMU around a pause
};

class Redirector : public OutputBuffer {
 public:
  /// What must happen around each pause for nothing to be lost; give it to QemuDomain::set_pause_hooks.
  /// Without it, QEMU drops at every stop the packets it has just taken, in both directions, and hold() may
  /// take effect late. They may outlive the redirector.
  [[nodiscard]] virtual hypervisor::qemu::PauseHooks pause_hooks() = 0;
};

std::unique_ptr<Redirector> make_redirector(std::shared_ptr<hypervisor::qemu::Qmp> qmp,
                                            RedirectorOptions options);

}  // namespace remus::output
