// A thread that runs jobs in order, with a bound on how many may wait.
//
// The guard's slow steps (capturing, encoding, applying) each have one, so that the event loop stays free for
// heartbeats. A job must not throw. The destructor runs what is queued and joins.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace remus::guard {

class Worker final {
 public:
  /// `name` is the thread's name as top(1) shows it, at most 15 characters.
  explicit Worker(std::string name);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker();

  /// Queues a job. The callers bound the queue (pipeline limits, flow control); depth() lets them check.
  void post(std::function<void()> job);
  [[nodiscard]] std::size_t depth() const;
  /// Throws queued jobs away; the one that runs is finished. Used when their session is gone.
  void clear();

 private:
  void run();

  std::string name_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_{false};
  std::thread thread_;
};

}  // namespace remus::guard
