// A running QEMU guest as a source of checkpoints.
//
// Stock QEMU can copy itself to a second QEMU again and again (COLO). We play that second QEMU: our process
// listens on a unix socket, QEMU "migrates" into it, and then asks before each checkpoint; it gets our yes
// exactly when the engine wants an epoch to end.
//
//   QEMU ──CHECKPOINT_REQUEST──▶          (guest runs on)
//        ◀──CHECKPOINT_REPLY───  capture() called: guest stops now
//        ──VMSTATE_SEND, dirty pages, device state──▶ sink
//        ◀──VMSTATE_RECEIVED, VMSTATE_LOADED── guest runs
//
// If we vanish between checkpoints QEMU goes on by itself; if we vanish inside one the guest stays paused
// until somebody says x-colo-lost-heartbeat: rescue_qemu() below, called by the keeper and by a fresh guard.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hypervisor/domain.hpp"
#include "hypervisor/qemu/guest_facts.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace remus::hypervisor::qemu {

struct AttachOptions {
  std::chrono::milliseconds ready_timeout{10'000};  ///< QEMU must ask for a checkpoint within this
  std::chrono::milliseconds stream_timeout{
      10'000};  ///< silence inside a checkpoint longer than this is a failure
  /// Disks whose writes the caller follows (disk_tap.hpp), by any of their names; other writable disks are refused.
  std::vector<std::string> disks{};
  /// Writable disks that the other host has without us, by any of their names.
  std::vector<std::string> elsewhere{};
};

/// Called around every pause, on the capture thread. The output buffer needs them (output/redirector.hpp).
struct PauseHooks {
  /// The guest still runs and is about to be stopped. Not before epoch 0's pause: QEMU chooses that moment.
  std::function<void()> before{};
  /// Paused, everything captured, QMP answers; after this the guest resumes. An error fails the capture.
  std::function<Status()> resuming{};
  /// The guest runs again, or could not be captured.
  std::function<void()> after{};
};

class QemuDomain : public Domain {
 public:
  /// Set before synchronize().
  virtual void set_pause_hooks(PauseHooks hooks) = 0;
  /// Ids of the guest's netdevs, for the output buffer.
  [[nodiscard]] virtual std::vector<std::string> netdevs() const = 0;
  /// Those of AttachOptions::disks, in its order, by its names.
  [[nodiscard]] virtual std::vector<std::pair<std::string, Disk>> replicated_disks() const = 0;
  [[nodiscard]] virtual pid_t pid() const = 0;
};

/// Inspects the running guest and, if it can be protected, returns it. Changes nothing in the guest. A guest
/// that cannot be protected is `refused` (or `unsupported`) with every reason in one error.
Result<std::unique_ptr<QemuDomain>> attach_qemu(std::shared_ptr<Qmp> qmp, AttachOptions options);

/// For a fresh guard or a keeper: frees a guest from a dead predecessor. Leaves COLO, resumes the guest if
/// the predecessor left it paused, takes away leftover filter objects and chardevs (ids beginning with
/// "remus-"). A guest that its user paused stays paused. Safe to call on a healthy guest.
Status rescue_qemu(const std::filesystem::path& qmp_socket);
Status rescue_qemu(Qmp& qmp);

}  // namespace remus::hypervisor::qemu
