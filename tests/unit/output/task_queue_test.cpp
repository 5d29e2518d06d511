#include "output/task_queue.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

namespace remus::output {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class TaskQueueTest : public ::testing::Test {
 protected:
  void serve() {
    pollfd ready{tasks->fd(), POLLIN, 0};
    while (!stop) {
      ::poll(&ready, 1, -1);
      tasks->serve();
    }
  }
  void TearDown() override {
    stop = true;
    tasks->wake();
  }

  std::unique_ptr<TaskQueue> tasks{TaskQueue::create().value()};
  std::atomic<bool> stop{false};
  std::jthread server{[this] { serve(); }};
};

TEST_F(TaskQueueTest, AnswersInOrder) {
  std::vector<int> done;
  for (int i = 0; i < 100; ++i) tasks->post([&done, i] { done.push_back(i); });
  const auto answer = tasks->run(seconds{60}, [] { return fail(Errc::io, "no"); });
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error().what, "no");
  ASSERT_EQ(done.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(done[static_cast<std::size_t>(i)], i);
}

TEST_F(TaskQueueTest, NobodyWaitsForWhatTakesLongAndItIsDoneAllTheSame) {
  std::promise<void> go;
  std::atomic<int> done{0};
  const auto slow = [wait = go.get_future().share(), &done]() -> Status {
    wait.wait();
    ++done;
    return {};
  };
  EXPECT_FALSE(tasks->run(milliseconds{20}, slow)) << "it is still under way";
  EXPECT_FALSE(tasks->run(milliseconds{20}, slow)) << "it has not begun";
  EXPECT_EQ(done, 0);
  go.set_value();
  EXPECT_TRUE(tasks->run(seconds{60}, [] { return Status{}; }));
  EXPECT_EQ(done, 2) << "in order";
}

}  // namespace
}  // namespace remus::output
