#include "base/token_bucket.hpp"

#include <gtest/gtest.h>

namespace remus {
namespace {

using namespace std::chrono_literals;
using Time = TokenBucket::Time;

TEST(TokenBucket, ZeroMeansNoLimit) {
  TokenBucket bucket{0, Time{}};
  bucket.take(1ULL << 40);
  EXPECT_EQ(bucket.wait(Time{}), TokenBucket::Duration::zero());
}

TEST(TokenBucket, LongRunRateIsExactWhateverTheFrameSize) {
  for (const std::uint64_t frame : {1'000ULL, 65'536ULL, 1'048'576ULL}) {
    constexpr std::uint64_t rate = 10'000'000;
    TokenBucket bucket{rate, Time{}};
    Time now{};
    std::uint64_t sent = 0;
    while (now < Time{} + 100s) {
      if (const auto wait = bucket.wait(now); wait > 0ns) {
        now += wait;
        continue;
      }
      bucket.take(frame);
      sent += frame;
    }
    // 100 s at the rate, give or take what the bucket held at first and the last frame's debt.
    EXPECT_GE(sent, rate * 100 - frame);
    EXPECT_LE(sent, rate * 100 + bucket.burst_bytes() + frame);
  }
}

TEST(TokenBucket, IdleTimeDoesNotAddUpBeyondTheBurst) {
  TokenBucket bucket{1'000'000, Time{}};
  const Time later = Time{} + 1h;
  std::uint64_t sent = 0;
  while (bucket.wait(later) == 0ns) {
    bucket.take(1'000);
    sent += 1'000;
  }
  EXPECT_LE(sent, bucket.burst_bytes() + 1'000);
}

TEST(TokenBucket, ADebtOutlivesAChangeOfRate) {
  TokenBucket bucket{1'000'000, Time{}};
  bucket.take(bucket.burst_bytes() + 500'000);
  EXPECT_EQ(bucket.wait(Time{}), 500ms);
  bucket.set_rate(2'000'000, Time{});
  EXPECT_EQ(bucket.wait(Time{}), 250ms);
}

TEST(TokenBucket, TimeThatStandsStillOrGoesBackGivesNothing) {
  TokenBucket bucket{1'000'000, Time{} + 10s};
  bucket.take(bucket.burst_bytes() + 1'000'000);
  EXPECT_EQ(bucket.wait(Time{} + 10s), 1s);
  EXPECT_EQ(bucket.wait(Time{} + 5s), 1s);
}

}  // namespace
}  // namespace remus
