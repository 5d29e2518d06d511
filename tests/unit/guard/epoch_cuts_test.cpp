#include "guard/epoch_cuts.hpp"

#include <gtest/gtest.h>

namespace remus::guard {
namespace {

using Portions = EpochCuts::Portions;

TEST(EpochCuts, WhatIsHeldIsGivenBackOnceAndWithTheNewestCut) {
  EpochCuts cuts;
  for (engine::Epoch epoch = 0; epoch <= 3; ++epoch) cuts.add(epoch, {10 + epoch, 20 + 2 * epoch}, false);
  EXPECT_EQ(cuts.held(1), (Portions{11, 22}));
  EXPECT_EQ(cuts.held(1), Portions{});
  EXPECT_EQ(cuts.held(9), (Portions{13, 26}));
}

TEST(EpochCuts, WhatSurvivesEndsBeforeTheEpochTold) {
  EpochCuts cuts;
  for (engine::Epoch epoch = 0; epoch <= 3; ++epoch) cuts.add(epoch, {epoch + 1}, false);
  EXPECT_EQ(cuts.survive(0), Portions{}) << "nothing does yet";
  EXPECT_EQ(cuts.survive(2), Portions{2}) << "epochs 0 and 1";
  EXPECT_EQ(cuts.survive(1), Portions{}) << "an older word";
  EXPECT_EQ(cuts.survived_end(), 2U);
}

TEST(EpochCuts, AnEpochThatWroteNothingSurvivesWithThoseBeforeIt) {
  EpochCuts cuts;
  cuts.add(0, {1}, false);
  cuts.add(1, {2}, true);
  cuts.add(2, {3}, true);
  cuts.add(3, {4}, false);
  cuts.add(4, {5}, true);
  EXPECT_EQ(cuts.survive(1), Portions{3});
  EXPECT_EQ(cuts.survive(4), Portions{5});
}

TEST(EpochCuts, NothingSurvivesBeforeTheSynchronizationDoes) {
  EpochCuts cuts;
  cuts.add(0, {1}, true);  // of the pause itself; what was copied before is not durable yet
  EXPECT_EQ(cuts.survive(0), Portions{});
  EXPECT_EQ(cuts.survive(1), Portions{1});
}

TEST(EpochCuts, ANewSessionKnowsNothing) {
  EpochCuts cuts;
  cuts.add(0, {1}, false);
  cuts.add(1, {2}, false);
  EXPECT_EQ(cuts.survive(2), Portions{2});
  cuts.clear();
  EXPECT_EQ(cuts.survived_end(), 0U);
  EXPECT_EQ(cuts.held(9), Portions{});
  cuts.add(0, {1}, true);
  EXPECT_EQ(cuts.survive(0), Portions{});
}

}  // namespace
}  // namespace remus::guard
