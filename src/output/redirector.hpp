// Holds the output of a running QEMU guest, without any change to its configuration.
//
// By QMP a filter-redirector is put on each netdev: what the guest sends comes to us over a socket pair, what we let go
// goes back in behind the filter and on to the netdev, whatever its kind (tap, stream, socket, user).
//
//   guest NIC ─▶ filter ┄ outdev ┄▶ [ held by epoch ] ┄ indev ┄▶ behind the filter ─▶ netdev ─▶ network
//
// One thread reads the sockets so fast that QEMU never waits for us. Held bytes are bounded: at the limit the newest
// packets are dropped and counted, as a full NIC queue would. mark() takes in whatever QEMU wrote before the pause.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "hypervisor/qemu/qmp.hpp"
#include "output/output_buffer.hpp"

namespace remus::output {

struct RedirectorOptions {
  std::vector<std::string> netdevs{};          ///< ids of all netdevs of the guest; may be empty
  std::size_t hold_bytes_max{64UL << 20};      ///< of all netdevs together
  bool hold_inbound{true};                     ///< also keep inbound packets out of QEMU around a pause
};

class Redirector : public OutputBuffer {
 public:
  /// Around a pause, on the capture thread: inbound packets wait here instead of in QEMU, which would drop those it
  /// has queued at a stop. Give these to QemuDomain::set_pause_hooks. No-ops unless attached and hold_inbound.
  virtual void before_pause() = 0;
  virtual void after_pause() = 0;
};

std::unique_ptr<Redirector> make_redirector(std::shared_ptr<hypervisor::qemu::Qmp> qmp, RedirectorOptions options);

}  // namespace remus::output
