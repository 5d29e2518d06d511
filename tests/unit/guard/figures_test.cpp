#include <gtest/gtest.h>

#include <thread>

#include "guard/long_pauses.hpp"
#include "guard/quantiles.hpp"
#include "guard/rate.hpp"
#include "guard/worker.hpp"

namespace remus::guard {
namespace {

TEST(Quantiles, OfKnownSamples) {
  Quantiles q;
  EXPECT_TRUE(q.empty());
  EXPECT_EQ(q.at(0.5), 0U);
  for (std::uint64_t i = 1; i <= 100; ++i) q.add(i);
  EXPECT_EQ(q.at(0.5), 51U);
  EXPECT_EQ(q.at(0.99), 100U);
  EXPECT_EQ(q.last(), 100U);
  EXPECT_DOUBLE_EQ(q.mean(), 50.5);
}

TEST(Quantiles, ForgetOldSamples) {
  Quantiles q;
  for (int i = 0; i < 5000; ++i) q.add(1'000'000);
  for (std::size_t i = 0; i < Quantiles::window; ++i) q.add(7);
  EXPECT_EQ(q.at(0.99), 7U);
}

TEST(Rate, IsTheGrowthPerSecond) {
  Rate rate;
  engine::Time t{};
  for (int i = 0; i <= 100; ++i, t += std::chrono::milliseconds{100}) rate.sum(t, i * 4.0);
  EXPECT_NEAR(rate.per_second(t), 40.0, 1.5);
  EXPECT_LT(rate.per_second(t + std::chrono::seconds{20}), 10.0) << "a rate falls when nothing comes";
}

TEST(LongPauses, AreToldWithTheirPartsAndNotTooOften) {
  LongPauses pauses;
  engine::Time now{};
  const auto pause = [](std::uint64_t us) {
    return hypervisor::CaptureReport{
        .pause_us = us, .drain_us = 5'000, .copy_us = 290'000, .device_us = 20'000, .pages = 7};
  };
  EXPECT_FALSE(pauses.note(now, pause(249'999)).has_value());
  EXPECT_EQ(pauses.note(now, pause(315'000)).value(),
            "the guest was held up for 315 ms by a checkpoint of 7 pages: 5 ms to bring its devices to "
            "rest, 290 ms for its memory, 20 ms for their state");
  for (int i = 0; i < 3; ++i)
    EXPECT_FALSE(pauses.note(now += std::chrono::seconds{1}, pause(400'000)).has_value());
  auto verifying = pause(300'000);
  verifying.mark_us = 3'000;
  verifying.verify_us = 250'000;
  const auto again = pauses.note(now += LongPauses::quiet, verifying);
  ASSERT_TRUE(again.has_value());
  EXPECT_NE(again->find("3 more like it"), std::string::npos) << *again;
  EXPECT_NE(again->find("3 ms to mark its output and disks, 250 ms to read memory that is verified"),
            std::string::npos)
      << *again;
}

TEST(LongPauses, CountWhatAGuestTakesToSuspendItself) {
  LongPauses pauses;
  const auto told =
      pauses.note(engine::Time{}, {.pause_us = 100'000, .stop_us = 170'000, .freeze_us = 170'000});
  ASSERT_TRUE(told.has_value());
  EXPECT_NE(told->find("held up for 270 ms"), std::string::npos) << *told;
  EXPECT_NE(told->find("170 ms to suspend itself"), std::string::npos) << *told;
}

TEST(Worker, RunsJobsInOrderAndAllBeforeItEnds) {
  std::vector<int> order;
  {
    Worker worker{"test"};
    for (int i = 0; i < 1000; ++i) worker.post([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 1000U);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(Worker, ClearDropsWhatWaits) {
  std::atomic<int> ran{0};
  std::atomic<bool> go{false};
  {
    Worker worker{"test"};
    worker.post([&] {
      while (!go) std::this_thread::yield();
      ++ran;
    });
    while (worker.depth() > 0) std::this_thread::yield();
    for (int i = 0; i < 10; ++i) worker.post([&] { ++ran; });
    worker.clear();
    go = true;
  }
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace remus::guard
