#include "engine/pacing.hpp"

#include "support.hpp"

namespace remus::engine::test {
namespace {

class PacingTest : public testing::Test {
 protected:
  Config config_{.interval = ms(100), .max_latency = ms(25), .min_interval = ms(2), .max_overhead = 0.3};
  Pacing pacing_{config_};
};

TEST_F(PacingTest, AnIdleGuestRunsForTheInterval) {
  pacing_.reset(at_ms(0));
  pacing_.resumed(at_ms(0), ms(1));
  EXPECT_EQ(pacing_.next(), at_ms(100));
}

TEST_F(PacingTest, WaitingOutputEndsTheEpochSoon) {
  pacing_.reset(at_ms(0));
  pacing_.resumed(at_ms(10), ms(0));
  pacing_.output_waiting(at_ms(11));
  EXPECT_EQ(pacing_.next(), at_ms(12)) << "min_interval after the last pause";
  pacing_.resumed(at_ms(13), ms(0));
  EXPECT_EQ(pacing_.next(), at_ms(113)) << "the next epoch has no output waiting";
}

TEST_F(PacingTest, MaxLatencyBeatsMinInterval) {
  config_.min_interval = ms(60);
  pacing_.reset(at_ms(0));
  pacing_.resumed(at_ms(0), ms(0));
  pacing_.output_waiting(at_ms(1));
  pacing_.output_waiting(at_ms(20));  // the first one counts
  EXPECT_EQ(pacing_.next(), at_ms(26));
}

TEST_F(PacingTest, TheShareOfPausesStaysBounded) {
  pacing_.reset(at_ms(0));
  Time now = at_ms(0);
  Duration paused{};
  Duration ran{};
  for (int i = 0; i < 400; ++i) {
    pacing_.output_waiting(now);  // output waits all the time
    const Time next = std::max(now, pacing_.next());
    ran += next - now;
    paused += ms(10);
    now = next + ms(10);
    pacing_.resumed(now, ms(10));
  }
  const double share = static_cast<double>(paused.count()) / static_cast<double>((paused + ran).count());
  EXPECT_LE(share, 0.33);
  EXPECT_GE(share, 0.2) << "nor is the budget left unused while output waits";
}

TEST_F(PacingTest, OneFreakPauseDoesNotStopCheckpointsForLong) {
  config_.max_overhead = 0.05;
  pacing_.reset(at_ms(0));
  for (int i = 0; i < 20; ++i) pacing_.resumed(at_ms(i * 100), ms(1));
  pacing_.resumed(at_ms(5'000), ms(3'000));  // our process was stopped while the guest was paused
  EXPECT_LE(pacing_.next(), at_ms(5'000 + 1'000));
}

TEST_F(PacingTest, PausesThatStayLongAreLearned) {
  pacing_.reset(at_ms(0));
  Time now = at_ms(0);
  for (int i = 0; i < 50; ++i) {
    now = std::max(now, pacing_.next()) + ms(400);
    pacing_.resumed(now, ms(400));
  }
  EXPECT_GE(pacing_.next() - now, ms(700)) << "400 ms of pause at 30 % need some 933 ms of run";
}

}  // namespace
}  // namespace remus::engine::test
