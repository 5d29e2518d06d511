// Whether the device model (QEMU) of an HVM domain still runs. libxl starts one for the whole life of a domain and never
// another: when it dies, the domain hangs in its next access to an emulated device, and its devices' state is lost.
#pragma once

#include <chrono>

#include "base/fd.hpp"
#include "hypervisor/xen/handles.hpp"

namespace remus::hypervisor::xen {

class ModelWatch final {
 public:
  /// Finds its process. Errors: not_found (it has died, or libxl did not start it).
  Status open(const Handles& handles, std::uint32_t domid);
  /// Becomes readable when it dies; -1 before open().
  [[nodiscard]] int fd() const noexcept { return process_.get(); }
  /// False before open(). `patience`: how long to wait for it; its sockets close a little before it counts as dead.
  [[nodiscard]] bool dead(std::chrono::milliseconds patience = {}) const noexcept;

 private:
  Fd process_{};
};

}  // namespace remus::hypervisor::xen
