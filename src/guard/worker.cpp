#include "guard/worker.hpp"

#include <pthread.h>

#include <utility>

namespace remus::guard {

Worker::Worker(std::string name) : name_{std::move(name)}, thread_{[this] { run(); }} {}

Worker::~Worker() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Worker::post(std::function<void()> job) {
  {
    const std::lock_guard lock{mutex_};
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

std::size_t Worker::depth() const {
  const std::lock_guard lock{mutex_};
  return jobs_.size();
}

void Worker::clear() {
  std::deque<std::function<void()>> dropped;
  const std::lock_guard lock{mutex_};
  dropped.swap(jobs_);
}

void Worker::run() {
  pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
  while (true) {
    std::function<void()> job;
    {
      std::unique_lock lock{mutex_};
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace remus::guard
