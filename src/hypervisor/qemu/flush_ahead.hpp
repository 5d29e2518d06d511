// The guest's disks brought up to date on their media shortly before the guest is stopped.
//
// QEMU flushes every disk each time it stops a guest (do_vm_stop(): drain, flush), in the midst of the pause: under writes
// that is most of the pause, and after a burst of them it is seconds. So the same is asked of the kernel while the guest still
// runs, and what QEMU finds to be flushed is only what was written since. A flush too many changes nothing of what a
// disk holds. Images that are no file or device of this host are left to QEMU.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "hypervisor/qemu/guest_facts.hpp"

namespace remus::hypervisor::qemu {

class FlushAhead final {
 public:
  /// Nobody waits longer for a medium that is slow: the guest is stopped then as it would have been without us.
  static constexpr std::chrono::milliseconds wait_max{2000};

  /// Of the process `pid`, whose working directory is `directory`: disks that can be written.
  FlushAhead(pid_t pid, const std::string& directory, const std::vector<Disk>& disks);
  ~FlushAhead();
  FlushAhead(const FlushAhead&) = delete;
  FlushAhead& operator=(const FlushAhead&) = delete;

  [[nodiscard]] std::size_t images() const noexcept { return images_.size(); }
  /// Flushes them; twice, if the first time took long enough for more to be written. False: not within wait_max, and
  /// it goes on by itself. By one thread at a time.
  bool run();

 private:
  void work(const std::stop_token& stop);

  std::vector<Fd> images_{};
  std::mutex mutex_{};
  std::condition_variable_any wake_{};
  bool wanted_{};  ///< guarded by mutex_, until it is done
  std::jthread thread_{};
};

}  // namespace remus::hypervisor::qemu
