// The device model (QEMU) of an HVM guest: stopped with it, asked for its state, told to log what it writes
// to memory.
//
// libxl's own monitor socket takes one client at a time, and libxl needs it for `xl unpause` and others; QEMU
// has a second one for xentop's statistics, which does without while a guest is protected.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "hypervisor/qemu/qmp.hpp"
#include "hypervisor/xen/device_state.hpp"
#include "hypervisor/xen/handles.hpp"
#include "hypervisor/xen/session_mark.hpp"

namespace remus::hypervisor::xen {

class DeviceModel final {
 public:
  DeviceModel(std::shared_ptr<Handles> handles, std::uint32_t domid, SessionMark& mark)
      : handles_{std::move(handles)}, domid_{domid}, mark_{mark} {}
  ~DeviceModel() { close(); }
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;

  Status open();
  /// From now on what it writes to the guest's memory is in the guest's log.
  Status log_writes(bool on);
  /// It does nothing more, what it had begun is finished, and its state is written when this returns.
  Status stop();
  /// Tells it to go on, and does not wait; then resume(), which does.
  void let_go();
  Status resume();
  /// Sections 3 and 4 of the device state, as it was when it stopped.
  Status save(DeviceStateWriter& state);
  /// Leaves it running, and not logging. Idempotent.
  void close();

 private:
  Status save_xenstore(DeviceStateWriter& state);
  /// Where it says in xenstore that it has put its own memory (video) into the guest's.
  [[nodiscard]] std::vector<std::string> places() const;
  [[nodiscard]] std::string places_path() const;

  std::shared_ptr<Handles> handles_;
  std::uint32_t domid_;
  SessionMark& mark_;
  std::shared_ptr<qemu::Qmp> monitor_{};
  Fd file_{};           ///< a memfd QEMU writes its state to
  std::string path_{};  ///< as QEMU reaches it
  /// QEMU built for Xen 4.10 and later keeps its places in its own state, and xenstored need not be asked in
  /// each pause: a guest would stand still for as long as that hangs.
  bool remembers_places_{false};
  bool logging_{false};
  bool stopped_{false};
};

/// For a rescue: makes a device model go on that a dead predecessor has stopped.
Status rescue_device_model(std::uint32_t domid, bool stopped, bool logging);

}  // namespace remus::hypervisor::xen
