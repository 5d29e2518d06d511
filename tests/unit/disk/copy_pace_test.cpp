#include "disk/copy_pace.hpp"

#include <gtest/gtest.h>

namespace {

using namespace std::chrono_literals;
using remus::disk::CopyPace;

TEST(CopyPace, KeepsTheRateOverAnyTime) {
  CopyPace pace{10'000};
  CopyPace::Clock::time_point now{1h};
  const auto start = now;
  std::uint64_t bytes = 0;
  for (int i = 0; i < 1000; ++i) {
    now += pace.take(100, now);
    bytes += 100;
  }
  const auto at_least = std::chrono::milliseconds{bytes / 10} - CopyPace::burst - 10ms;
  EXPECT_GE(now - start, at_least);
  EXPECT_LE(now - start, std::chrono::milliseconds{bytes / 10});
}

TEST(CopyPace, ARestSavesNoMoreThanABurst) {
  CopyPace pace{1000};
  CopyPace::Clock::time_point now{1h};
  EXPECT_EQ(pace.take(1000, now), 0s);
  now += 1min;
  EXPECT_EQ(pace.take(1000, now), 0s);
  EXPECT_EQ(pace.take(1, now), 1s - CopyPace::burst);
}

TEST(CopyPace, NoLimitAndAChangedOne) {
  CopyPace pace;
  CopyPace::Clock::time_point now{1h};
  for (int i = 0; i < 10; ++i) EXPECT_EQ(pace.take(1U << 30U, now), 0s);
  pace.set_rate(1);
  EXPECT_EQ(pace.take(5, now), 0s) << "what was read without a limit is not held against it";
  EXPECT_EQ(pace.take(1, now), 5s);
  pace.set_rate(0);
  EXPECT_EQ(pace.take(1, now), 0s) << "nor is it waited for when the limit goes";
}

}  // namespace
