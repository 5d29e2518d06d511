// The device model (QEMU) of an HVM guest: stopped with it, asked for its state, told to log what it writes
// to memory.
//
// One command does it all, sent ahead but for its last byte (Qmp::arm): QEMU stops, opens a pipe, writes its state into it,
// and goes on. The pipe is too small for the state, so that QEMU stands still until somebody reads:
//
//   guest   stands still ────────────────────────────┐ runs
//   QEMU    stops ── opens the pipe ── writes, waits ─┼─────────────────── goes on
//   us      fire ──▶ it is open ────── copy memory ───┘ read to the end
//
// The guest need not wait for the state (QEMU takes 12 ms to write 57 KiB, byte by byte): what it asks of an emulated device
// meanwhile waits, once the device model's ioreq server is enabled again (ioreq_servers.hpp). What QEMU does afterwards is of
// the next epoch: the guest's log of writes tells it. If we die, the pipe breaks and QEMU goes on by itself.
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
#include "hypervisor/xen/ioreq_servers.hpp"
#include "hypervisor/xen/session_mark.hpp"

namespace remus::hypervisor::xen {

class DeviceModel final {
 public:
  /// `hold`: it stands still until the guest goes on, for whoever compares the guest's memory until then.
  DeviceModel(std::shared_ptr<Handles> handles, std::shared_ptr<const IoreqServers> servers,
              std::uint32_t domid, SessionMark& mark, bool hold)
      : handles_{std::move(handles)}, servers_{std::move(servers)}, domid_{domid}, mark_{mark}, hold_{hold} {}
  ~DeviceModel() { close(); }
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;

  /// `monitor`: of somebody who stays connected; null: it is connected to here, and left in close().
  Status open(std::shared_ptr<qemu::Qmp> monitor = nullptr);
  /// From now on what it writes to the guest's memory is in the guest's log; and it is ready to be stopped.
  Status log_writes(bool on);
  /// It does nothing more, and what it had begun is finished, when this returns.
  Status stop();
  /// Sections 3 and 4 of the device state, as it was when it stopped, whether or not the guest runs again by now. It goes on
  /// when this has returned, unless held.
  Status save(DeviceStateWriter& state);
  /// Tells it to go on, and does not wait; then resume(), which does.
  void let_go();
  Status resume();
  /// It was there, and is not any more.
  [[nodiscard]] bool disconnected() const { return monitor_ && monitor_->closed(); }
  /// Leaves it running, and not logging. Idempotent.
  void close();

 private:
  Status arm();
  Status stop_held();
  Status await_standing();
  [[nodiscard]] bool opened_by_it();
  Status read_state();
  Status save_xenstore(DeviceStateWriter& state);
  /// Where it says in xenstore that it has put its own memory (video) into the guest's.
  [[nodiscard]] std::vector<std::string> places() const;
  [[nodiscard]] std::string places_path() const;

  std::shared_ptr<Handles> handles_;
  std::shared_ptr<const IoreqServers> servers_;
  std::uint32_t domid_;
  SessionMark& mark_;
  std::shared_ptr<qemu::Qmp> monitor_{};
  bool hold_;
  bool shared_{false};  ///< monitor_ is somebody else's, too
  Fd read_end_{};       ///< of the pipe QEMU writes its state to
  Fd write_end_{};
  Fd opens_{};  ///< inotify: tells that QEMU has opened the pipe, and so has stopped
  int pipe_watch_{-1};
  std::size_t pipe_bytes_{};
  std::vector<std::byte> context_{};  ///< its state; as large as the largest was
  std::size_t context_bytes_{};
  /// QEMU built for Xen 4.10 and later keeps its places in its own state, and xenstored need not be asked in
  /// each pause: a guest would stand still for as long as that hangs.
  bool remembers_places_{false};
  bool logging_{false};
  bool armed_{false};
  bool whole_{false};    ///< its state of this stop has been read to the end
  bool stopped_{false};  ///< told to, and not known to go on
};

/// The monitor of a domain's QEMU in dom0: the device model of an HVM domain, or what libxl has started for a PV or PVH domain's
/// disks. Errors: those of Qmp::connect().
Result<std::shared_ptr<qemu::Qmp>> connect_model(std::uint32_t domid);

/// For a rescue: makes a device model go on that a dead predecessor has stopped.
Status rescue_device_model(std::uint32_t domid, bool stopped, bool logging);

}  // namespace remus::hypervisor::xen
