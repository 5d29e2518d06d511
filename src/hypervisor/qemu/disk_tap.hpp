// Puts us into a running guest's write path, and takes us out again, without a change to the guest's disk.
//
//   guest ─▶ device ─▶ remus-tap-N (mirror) ─▶ the user's node ─▶ image      as before, reads too
//                          └──────────────────▶ remus-disk-N (NBD) ─▶ us     each write once the disk has it
//
// QEMU's block job `mirror` with sync=none copies nothing by itself, and with copy-mode=write-blocking it ends no write
// of the guest before the target has it. Overlapping writes reach both in one order. The target is an NBD server at our
// end of a socket pair that QEMU gets by `getfd`: no path, and nobody else can connect.
//
// If our end closes, the job stands still and the guest goes on by itself: a dead guard costs nothing. If our end
// is alive and silent the guest's writes wait, and so does QEMU as a whole when it stops or drains the guest; so
// the owner either answers or closes. See docs/disks.md.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/fd.hpp"
#include "hypervisor/qemu/guest_facts.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace remus::hypervisor::qemu {

/// Runs what it is given while the guest begins no request. QEMU's own `stop` sees to that, but for those guests whose processors
/// QEMU does not run (Xen's).
using Standstill = std::function<Status(const std::function<Status()>& body)>;

class DiskTap final {
 public:
  static constexpr std::chrono::milliseconds job_timeout{10'000};
  static constexpr int socket_buffer_bytes = 4 << 20;

  /// `number` tells the disks of one guest apart. `standstill` may be empty.
  DiskTap(std::shared_ptr<Qmp> qmp, Disk disk, unsigned number, Standstill standstill = {});
  ~DiskTap();
  DiskTap(const DiskTap&) = delete;
  DiskTap& operator=(const DiskTap&) = delete;

  /// `serve` gets our end, and must begin to answer on another thread. Every write that the guest begins after this
  /// returns reaches it. Takes back what it added on failure. Errors: those of `serve` and Qmp.
  Status insert(const std::function<Status(Fd)>& serve);

  /// Takes us out; writes under way end first, so our end must answer or be closed. Once a write has not reached us the guest
  /// is stopped for this, for the time of a flush. Idempotent.
  Status remove();

  /// An error once a write has not reached us: from then on writes are missing.
  [[nodiscard]] Status intact();
  /// The same, out of an answer to query-block-jobs.
  [[nodiscard]] bool intact(const nlohmann::json& jobs) const;

  /// The user's node, beneath the tap: what DiskExport serves.
  [[nodiscard]] const Disk& disk() const noexcept { return disk_; }

 private:
  Status add_target(const std::function<Status(Fd)>& serve);
  Status start_job();
  Status await_ready();
  [[nodiscard]] Status broken() const;

  std::shared_ptr<Qmp> qmp_;
  Disk disk_;
  Standstill standstill_;
  std::string job_;
  std::string target_;
  std::string filter_;
  bool has_target_{};
  bool has_job_{};
};

/// Ends a mirror job of ours, and waits for that: as DiskTap::remove(). One that has ended already is fine. Errors: timeout, and
/// those of Qmp.
Status end_job(Qmp& qmp, const std::string& id, std::chrono::milliseconds timeout = DiskTap::job_timeout,
               const Standstill& standstill = {});

}  // namespace remus::hypervisor::qemu
