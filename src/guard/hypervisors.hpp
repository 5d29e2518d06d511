// The only place in the guard that knows which hypervisors there are: from a spec to the seams.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "guard/spec.hpp"
#include "hypervisor/domain.hpp"
#include "hypervisor/guest_disks.hpp"
#include "hypervisor/standby.hpp"
#include "output/output_buffer.hpp"

namespace remus::guard {

/// A running guest, and all we need to protect it. Destroy `output` before `domain`.
struct ProtectedGuest {
  std::unique_ptr<hypervisor::Domain> domain{};
  std::unique_ptr<output::OutputBuffer> output{};
  std::unique_ptr<hypervisor::GuestDisks> disks{};  ///< those that are replicated; null: none
  /// Stops the guest for good: another host has superseded it.
  std::function<Status()> terminate{};
  /// True once the guest said that it is shutting down in good order.
  std::function<bool()> shut_down_in_order{};
  nlohmann::json handle{};  ///< {"qmp": ..., "pid": ...} or {"domain": ..., "domid": ...}
  pid_t pid{};              ///< of the guest's process; 0 if it has none
  /// Where there is no process to watch: whether the guest is there. Quick; asked a few times a second.
  std::function<bool()> exists{};
  /// Where exists() is set: what of it has died so that it can never go on here; empty while it is well. Quick.
  std::function<std::string()> doom{};
  /// Where exists() is set: has `look` called, on any thread, when it should be asked at once.
  std::function<void(std::function<void()> look)> on_signs_of_end{};
};

/// Inspects the guest of a primary's spec; changes nothing in it. Errors: refused and others, with all
/// reasons.
Result<ProtectedGuest> attach_guest(const GuardSpec& spec);

/// Undoes what a dead guard left in the guest, and leaves it running.
Status rescue_guest(const GuardSpec& spec);

/// What will wait on the backup; and whether an earlier guard's standby was activated (then it is the guest,
/// and is not ours to touch: refused).
Result<std::unique_ptr<hypervisor::Standby>> make_standby(
    const GuardSpec& spec, const std::map<std::string, hypervisor::ReplicaPlace>& disks);

}  // namespace remus::guard
