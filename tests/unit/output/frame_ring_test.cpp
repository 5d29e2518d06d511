#include "output/frame_ring.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <string>
#include <vector>

namespace {

using remus::Errc;
using remus::output::FrameRing;

std::vector<std::byte> frame(std::size_t bytes, std::uint8_t fill) {
  std::vector<std::byte> out;
  for (unsigned shift = 24;; shift -= 8) {
    out.push_back(static_cast<std::byte>(bytes >> shift));
    if (shift == 0) break;
  }
  out.resize(4 + bytes, static_cast<std::byte>(fill));
  return out;
}

constexpr std::size_t plenty = 1UL << 40;

FrameRing make(std::size_t bytes = 1UL << 20) {
  auto ring = FrameRing::create(bytes);
  EXPECT_TRUE(ring);
  return std::move(*ring);
}

/// First byte of each frame that comes out.
std::string drain(FrameRing& ring) {
  std::vector<std::byte> bytes;
  for (auto part = ring.sendable(); !part.empty(); part = ring.sendable()) {
    bytes.insert(bytes.end(), part.begin(), part.end());
    ring.sent(part.size());
  }
  std::string out;
  for (std::size_t i = 0; i < bytes.size();) {
    std::size_t length = 0;
    for (int k = 0; k < 4; ++k) length = length << 8U | std::to_integer<std::size_t>(bytes[i++]);
    EXPECT_LE(i + length, bytes.size());
    out += std::to_integer<char>(bytes[i]);
    i += length;
  }
  return out;
}

TEST(FrameRing, NothingGoesBeforeItsEpochsRelease) {
  auto ring = make();
  ASSERT_TRUE(ring.take(frame(10, 'a'), plenty));
  ring.mark(1);
  ASSERT_TRUE(ring.take(frame(20, 'b'), plenty));
  ring.mark(2);
  ASSERT_TRUE(ring.take(frame(30, 'c'), plenty));
  EXPECT_TRUE(ring.sendable().empty());
  EXPECT_TRUE(ring.has_unmarked());
  ring.release(0);
  EXPECT_EQ(drain(ring), "");
  ring.release(1);
  EXPECT_EQ(drain(ring), "a");
  EXPECT_EQ(ring.held().packets, 2U);
  ring.release(7);
  EXPECT_EQ(drain(ring), "b");
  EXPECT_EQ(ring.released().bytes, 30U);
  ring.release_all();
  EXPECT_EQ(drain(ring), "c");
  EXPECT_EQ(ring.held().packets, 0U);
  EXPECT_FALSE(ring.has_unmarked());
}

TEST(FrameRing, AFrameUnderWayBelongsToTheNextEpoch) {
  auto ring = make();
  const auto whole = frame(100, 'x');
  ASSERT_TRUE(ring.take(std::span{whole}.first(50), plenty));
  ring.mark(1);
  ring.release(1);
  EXPECT_TRUE(ring.sendable().empty());
  ASSERT_TRUE(ring.take(std::span{whole}.subspan(50), plenty));
  EXPECT_TRUE(ring.sendable().empty());
  ring.mark(2);
  ring.release(2);
  EXPECT_EQ(drain(ring), "x");
}

TEST(FrameRing, AtTheLimitTheNewestWholeFramesAreDropped) {
  auto ring = make();
  ASSERT_TRUE(ring.take(frame(1000, 'a'), 2100));
  ASSERT_TRUE(ring.take(frame(1000, 'b'), 2100 - ring.used_bytes()));
  ASSERT_TRUE(ring.take(frame(1000, 'c'), 2100 - ring.used_bytes()));
  ASSERT_TRUE(ring.take(frame(50, 'd'), 2100 - ring.used_bytes()));
  EXPECT_EQ(ring.dropped().packets, 1U);
  ring.release_all();
  EXPECT_EQ(drain(ring), "abd");
}

TEST(FrameRing, DiscardForgetsWhatIsHeldButNotWhatIsReleased) {
  auto ring = make();
  ASSERT_TRUE(ring.take(frame(10, 'a'), plenty));
  ring.mark(1);
  ring.release(1);
  ASSERT_TRUE(ring.take(frame(10, 'b'), plenty));
  ring.mark(2);
  const auto part = frame(10, 'c');
  ASSERT_TRUE(ring.take(std::span{part}.first(7), plenty));
  EXPECT_EQ(ring.discard().packets, 1U);
  ring.release(2);
  ASSERT_TRUE(ring.take(std::span{part}.subspan(7), plenty));
  ring.mark(3);
  ring.release(3);
  EXPECT_EQ(drain(ring), "ac");
  EXPECT_EQ(ring.dropped().packets, 1U);
  EXPECT_EQ(ring.released().packets, 2U);
}

TEST(FrameRing, LostFramingIsCorrupt) {
  auto ring = make();
  const std::vector<std::byte> silly(8, std::byte{0xff});
  EXPECT_EQ(ring.take(silly, plenty).error().kind, Errc::corrupt);
  auto other = make();
  EXPECT_EQ(other.take(std::vector<std::byte>(4, std::byte{0}), plenty).error().kind, Errc::corrupt);
}

TEST(FrameRing, OrderAndContentOverManyTurnsOfTheRing) {
  auto ring = make(1UL << 20);
  std::mt19937 random{7};
  std::deque<std::uint8_t> expected;
  std::string got;
  std::string want;
  remus::output::Epoch epoch = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto fill = static_cast<std::uint8_t>('a' + i % 26);
    const auto bytes = frame(1 + random() % 3000, fill);
    // In random pieces, as a socket gives them.
    for (std::size_t done = 0; done < bytes.size();) {
      const std::size_t piece = std::min<std::size_t>(1 + random() % 1500, bytes.size() - done);
      ASSERT_TRUE(ring.take(std::span{bytes}.subspan(done, piece), plenty));
      done += piece;
    }
    if (ring.dropped().packets == 0) want += static_cast<char>(fill);
    if (random() % 8 == 0) ring.mark(++epoch);
    if (random() % 8 == 0 && epoch > 2) ring.release(epoch - 2);
    if (random() % 4 == 0) got += drain(ring);
  }
  ring.release_all();
  got += drain(ring);
  EXPECT_EQ(ring.dropped().packets, 0U);
  EXPECT_EQ(got, want);
}

}  // namespace
