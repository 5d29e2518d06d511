// A process we start and that may outlive us, named for good by pid and start time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace remus::hypervisor {

struct SpawnOptions {
  std::filesystem::path program{};
  std::vector<std::string> arguments{};    ///< without the program's name
  std::vector<std::string> environment{};  ///< KEY=VALUE, over ours
  std::filesystem::path directory{"/"};
  std::filesystem::path output{};  ///< stdout and stderr go here (truncated)
  int input{-1};                   ///< its stdin; -1: /dev/null
  int extra{-1};                   ///< its descriptor 3; -1: none
};

class ChildProcess final {
 public:
  ChildProcess() noexcept = default;
  /// Starts it in a session of its own, with no descriptor of ours, no signal blocked or ignored.
  static Result<ChildProcess> spawn(const SpawnOptions& options);
  /// A process started by an earlier guard. not_found unless pid and start time name a living process.
  static Result<ChildProcess> adopt(pid_t pid, std::uint64_t start_time);

  [[nodiscard]] bool running() const noexcept;
  /// SIGKILL, and waits for its end. Idempotent. Errors: timeout.
  Status kill(std::chrono::milliseconds timeout = std::chrono::milliseconds{5000});
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] std::uint64_t start_time() const noexcept { return start_time_; }
  [[nodiscard]] int pidfd() const noexcept { return handle_.get(); }

 private:
  pid_t pid_{};
  std::uint64_t start_time_{};
  Fd handle_{};
};

/// When the process started, in clock ticks since boot: with the pid it names one process for good. 0 if gone.
[[nodiscard]] std::uint64_t start_time_of(pid_t pid);

/// Runs a program to its end and returns what it printed. Errors: not_found, timeout, io.
Result<std::string> run_program(const std::filesystem::path& program,
                                const std::vector<std::string>& arguments, std::chrono::milliseconds timeout);
/// A program by name from PATH and the usual places; empty if there is none.
[[nodiscard]] std::filesystem::path find_program(const std::string& name);

}  // namespace remus::hypervisor
