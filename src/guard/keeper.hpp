// The keeper: a parent process that outlives a crashed guard, to leave the guest running.
//
//   remusd ─▶ keeper ─▶ guard        guard dies in the middle of a checkpoint: the guest stands paused
//                │                   keeper wakes up, rescues the guest, ends with the guard's status
//                └── waits           remusd sees that end and starts a new guard
//
// It does nothing while the guard lives: no threads, no memory to speak of. Killing the keeper alone harms nothing.
#pragma once

#include <functional>

namespace remus::guard {

/// Forks. Returns in the child (the guard). The parent waits, forwards SIGTERM, runs `rescue` when the guard ended in
/// any way but exit status 0, and ends the process with the guard's status (128 + signal, as a shell would).
/// Must be called before any thread is started.
void become_guarded_child(const std::function<void()>& rescue);

}  // namespace remus::guard
