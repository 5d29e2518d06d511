// Into COLO and out of it again, by QMP: capabilities, parameters, migrate, and the way back to an ordinary
// guest.
//
// What was set before is put back at the end. A successor of a dead guard cannot know it, so the values we
// set are recognizable and become QEMU's defaults again (see docs/qemu.md).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "hypervisor/qemu/qmp.hpp"

namespace remus::hypervisor::qemu {

class MigrationControl final {
 public:
  explicit MigrationControl(Qmp& qmp) noexcept : qmp_{qmp} {}

  /// Remembers capabilities and parameters and sets ours. Errors: unsupported, and those of Qmp.
  Status prepare();
  /// Starts the migration into `fd`, our channel's other end. Errors: timeout (QEMU is not done with the one before), and
  /// those of Qmp.
  Status start(int fd);
  /// Lets QEMU pause the guest for at most this long at the end of the synchronization.
  Status set_downtime_limit(std::uint64_t ms);
  /// Waits until QEMU is in COLO. unsupported if it has completed an ordinary migration instead.
  Status await_colo();
  /// Leaves COLO or a migration under way, sees that the guest runs, puts everything back. Idempotent.
  Status leave();

 private:
  Result<std::string> status();
  Status restore();

  Qmp& qmp_;
  nlohmann::json saved_capabilities_{};  ///< those we changed, as they were
  nlohmann::json saved_parameters_{};
};

/// Leaves COLO or a migration of ours and makes the guest run if that left it stopped; when it returns without an error another
/// migration may begin. For a guest that is in no migration nothing happens.
Status leave_migration(Qmp& qmp);

inline constexpr std::uint64_t our_bandwidth_bytes = 1ULL << 40;
inline constexpr std::uint64_t our_checkpoint_delay_ms = 1;

}  // namespace remus::hypervisor::qemu
