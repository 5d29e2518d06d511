// Processes that are not ours to keep: guards outlive the daemon that started them, and the daemon that
// watches them may be another one than their parent. pidfds serve both, and cannot be fooled by a pid that
// was used again.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace boost::asio {
class io_context;
}

namespace remus::daemon {

/// Starts a program in a session of its own, standard input from /dev/null, output as ours, signals at their
/// defaults.
[[nodiscard]] Result<pid_t> spawn_detached(const std::filesystem::path& program,
                                           const std::vector<std::string>& args);

/// When the process started, in clock ticks since boot: with the pid, its name for all time. 0: no such
/// process.
[[nodiscard]] std::uint64_t start_ticks(pid_t pid);

class ProcessWatch final {
 public:
  /// Calls `on_exit` once, from the event loop, when the process has ended (at once if it has). If `ticks` is
  /// not 0, a process that started at another time is another one. Errors: not_found.
  [[nodiscard]] static Result<std::unique_ptr<ProcessWatch>> open(boost::asio::io_context& io, pid_t pid,
                                                                  std::uint64_t ticks,
                                                                  std::function<void()> on_exit);
  ~ProcessWatch();
  ProcessWatch(const ProcessWatch&) = delete;
  ProcessWatch& operator=(const ProcessWatch&) = delete;

  /// The truth of this moment, asked of the kernel; needs no turn of the event loop.
  [[nodiscard]] bool alive() const noexcept;
  [[nodiscard]] pid_t pid() const noexcept;
  /// Sends SIGKILL. Never reaches another process that got the same pid.
  void kill() const noexcept;
  /// How it ended, in words, if it was our child: "exit status 1", "signal 9 (Killed)"; else empty.
  [[nodiscard]] const std::string& end() const noexcept;

 private:
  struct Impl;
  explicit ProcessWatch(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace remus::daemon
