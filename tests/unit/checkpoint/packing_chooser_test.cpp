#include "checkpoint/packing_chooser.hpp"

#include <gtest/gtest.h>

#include <map>

namespace remus::checkpoint {
namespace {

struct Behaviour {
  double ratio;
  double ns_per_byte;
};

/// What is chosen over many batches when packings behave like this.
std::map<Packing, int> run(PackingChooser& chooser, Behaviour lz4, Behaviour zstd, int batches = 2000) {
  constexpr std::size_t body = 200'000;
  std::map<Packing, int> chosen;
  for (int i = 0; i < batches; ++i) {
    const auto packing = chooser.next();
    ++chosen[packing];
    if (packing == Packing::none) {
      chooser.measured(packing, body, body, 10'000);
      continue;
    }
    const auto& is = packing == Packing::lz4 ? lz4 : zstd;
    chooser.measured(packing, body, static_cast<std::size_t>(is.ratio * body),
                     static_cast<std::uint64_t>(is.ns_per_byte * body));
  }
  return chosen;
}

TEST(PackingChooser, SlowLinkTakesTheBetterRatio) {
  PackingChooser chooser{10'000'000};
  EXPECT_GT(run(chooser, {0.6, 1.5}, {0.4, 5})[Packing::zstd], 1800);
}

TEST(PackingChooser, FastLinkTakesTheQuickerPacker) {
  PackingChooser chooser{1'000'000'000};
  EXPECT_GT(run(chooser, {0.5, 0.3}, {0.4, 5})[Packing::lz4], 1800);
}

TEST(PackingChooser, WhatCannotBePackedIsStored) {
  PackingChooser chooser{125'000'000};
  EXPECT_GT(run(chooser, {1.0, 1}, {1.0, 3})[Packing::none], 1800);
}

TEST(PackingChooser, NoticesThatTheGuestChanged) {
  PackingChooser chooser{125'000'000};
  run(chooser, {1.0, 1}, {1.0, 3});
  EXPECT_GT(run(chooser, {0.2, 1}, {0.18, 3})[Packing::lz4], 1000);
  EXPECT_GT(run(chooser, {1.0, 1}, {1.0, 3})[Packing::none], 1000);
}

TEST(PackingChooser, ATinyBatchDoesNotDecide) {
  PackingChooser chooser{125'000'000};
  run(chooser, {0.3, 1}, {0.29, 5});
  for (int i = 0; i < 3; ++i) chooser.measured(Packing::lz4, 20, 20, 20'000);
  EXPECT_EQ(chooser.next(), Packing::lz4);
}

}  // namespace
}  // namespace remus::checkpoint
