#include "engine/detector.hpp"

#include "support.hpp"

namespace remus::engine::test {
namespace {

constexpr auto slack = std::chrono::milliseconds{100};

FailureDetector beating(std::int64_t period_ms, int beats) {
  FailureDetector detector{{ms(250), ms(2'000), ms(50)}, at_ms(0)};
  for (int i = 1; i <= beats; ++i) detector.heard(at_ms(i * period_ms));
  return detector;
}

TEST(Detector, WaitsLongestBeforeItKnowsTheRhythm) {
  const FailureDetector detector{{ms(250), ms(2'000), ms(50)}, at_ms(0)};
  EXPECT_FALSE(detector.knows_rhythm());
  EXPECT_EQ(detector.timeout(), ms(2'000));
  EXPECT_FALSE(detector.silent(at_ms(1'999)));
  EXPECT_TRUE(detector.silent(at_ms(2'000)));
}

TEST(Detector, AQuickSteadyPeerIsMissedAtTheMinimum) {
  const auto detector = beating(25, 100);
  EXPECT_EQ(detector.timeout(), ms(250));
  EXPECT_EQ(detector.deadline(), at_ms(2'500 + 250));
}

TEST(Detector, ASlowPeerGetsMoreTime) {
  const auto detector = beating(200, 50);
  EXPECT_GE(detector.timeout(), ms(400));
  EXPECT_LT(detector.timeout(), ms(1'000));
}

TEST(Detector, AnIrregularPeerGetsMoreTimeThanASteadyOne) {
  FailureDetector detector{{ms(50), ms(2'000), ms(50)}, at_ms(0)};
  FailureDetector steady{{ms(50), ms(2'000), ms(50)}, at_ms(0)};
  std::int64_t now = 0;
  for (int i = 0; i < 60; ++i) detector.heard(at_ms(now += (i % 2 == 0) ? 10 : 90));
  for (int i = 1; i <= 60; ++i) steady.heard(at_ms(i * 50));
  EXPECT_GT(detector.timeout(), 2 * steady.timeout());
}

TEST(Detector, TheMaximumIsKept) {
  EXPECT_EQ(beating(5'000, 20).timeout(), ms(2'000));
}

TEST(Detector, OwnSleepIsNotThePeersSilence) {
  auto detector = beating(25, 100);
  const Time before = detector.deadline();
  EXPECT_EQ(detector.tick(at_ms(7'525), at_ms(2'525), slack), ms(5'000));
  EXPECT_FALSE(detector.silent(at_ms(7'525)));
  EXPECT_EQ(detector.deadline(), before + ms(5'000));
}

TEST(Detector, BeingALittleLateIsNoSleep) {
  auto detector = beating(25, 100);
  EXPECT_EQ(detector.tick(at_ms(2'600), at_ms(2'525), slack), ms(0));
  EXPECT_EQ(detector.deadline(), at_ms(2'750));
}

TEST(Detector, AfterASleepThereIsTimeToReadWhatWaits) {
  auto detector = beating(25, 100);
  static_cast<void>(detector.tick(at_ms(4'745), at_ms(2'745), slack));  // 5 ms before the deadline
  EXPECT_GE(detector.deadline(), at_ms(4'745 + 50));
}

TEST(Detector, ConstantStarvationDoesNotHideADeadPeerForEver) {
  auto detector = beating(25, 100);
  Time now = at_ms(2'500);
  for (int i = 0; i < 100 && !detector.silent(now); ++i) {
    const Time asked = now + ms(25);
    now = asked + ms(150);  // always late
    static_cast<void>(detector.tick(now, asked, slack));
  }
  EXPECT_TRUE(detector.silent(now));
}

TEST(Detector, TouchStartsTheSilenceAnewAndNeverEarlier) {
  auto detector = beating(25, 100);
  detector.touch(at_ms(2'600));
  EXPECT_EQ(detector.deadline(), at_ms(2'850));
  detector.touch(at_ms(1'000));
  EXPECT_EQ(detector.deadline(), at_ms(2'850));
}

TEST(Detector, ResetForgetsTheRhythm) {
  auto detector = beating(25, 100);
  detector.reset(at_ms(3'000));
  EXPECT_FALSE(detector.knows_rhythm());
  EXPECT_EQ(detector.deadline(), at_ms(5'000));
}

}  // namespace
}  // namespace remus::engine::test
