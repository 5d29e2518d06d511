// Tasks for a thread that also waits for descriptors. They run one at a time, in order; whoever asks waits for the answer
// only so long, because what the kernel is asked may take its time: it serves one change to its network at a time, and
// another's can last seconds.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace remus::output {

class TaskQueue final {
 public:
  using Task = std::function<Status()>;

  static Result<std::unique_ptr<TaskQueue>> create();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  // --- any thread ---
  void post(std::function<void()> task);
  /// What the task answers; nullopt if that takes longer. It is run all the same.
  [[nodiscard]] std::optional<Status> run(std::chrono::milliseconds patience, Task task);
  void wake() const noexcept;

  // --- the thread that serves it ---
  /// Readable when there is something to do.
  [[nodiscard]] int fd() const noexcept { return wake_.get(); }
  /// Runs what has been asked for by now.
  void serve();

 private:
  explicit TaskQueue(Fd wake) : wake_{std::move(wake)} {}

  Fd wake_;
  std::mutex mutex_{};
  std::vector<std::function<void()>> tasks_{};
};

}  // namespace remus::output
