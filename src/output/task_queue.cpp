#include "output/task_queue.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <future>
#include <memory>
#include <utility>

namespace remus::output {

Result<std::unique_ptr<TaskQueue>> TaskQueue::create() {
  Fd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!wake) return fail_errno(errno, "cannot create an eventfd");
  return std::unique_ptr<TaskQueue>{new TaskQueue{std::move(wake)}};
}

void TaskQueue::post(std::function<void()> task) {
  {
    const std::lock_guard lock{mutex_};
    tasks_.push_back(std::move(task));
  }
  wake();
}

std::optional<Status> TaskQueue::run(std::chrono::milliseconds patience, Task task) {
  const auto asked = std::make_shared<std::packaged_task<Status()>>(std::move(task));
  auto answer = asked->get_future();
  post([asked] { (*asked)(); });
  if (answer.wait_for(patience) != std::future_status::ready) return std::nullopt;
  return answer.get();
}

void TaskQueue::wake() const noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

void TaskQueue::serve() {
  std::uint64_t count = 0;
  static_cast<void>(!::read(wake_.get(), &count, sizeof count));
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard lock{mutex_};
    tasks.swap(tasks_);
  }
  for (const auto& task : tasks) task();
}

}  // namespace remus::output
