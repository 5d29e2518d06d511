// A domain that may be the guest's only copy is not destroyed over a lost word.
#include "hypervisor/xen/activation_fate.hpp"

#include <gtest/gtest.h>

#include <deque>

namespace {

using namespace remus;
using namespace remus::hypervisor::xen;

/// Xen's answers in their order, and whether the restore was ended before the last one.
struct Host {
  std::deque<Result<Standing>> sights;
  Status end{};
  bool ended{false};

  ActivationFate fate() {
    return fate_of_activation(
        [this] {
          auto sight = std::move(sights.front());
          sights.pop_front();
          return sight;
        },
        [this] {
          ended = true;
          return end;
        });
  }
};

Result<Standing> no_answer() {
  return fail(Errc::io, "no answer");
}

TEST(ActivationFate, ADomainThatRunsIsLeftWithItsKeeper) {
  Host host{.sights = {Standing::runs}};
  EXPECT_EQ(host.fate(), ActivationFate::runs);
  EXPECT_FALSE(host.ended);
}

TEST(ActivationFate, APausedDomainHasNotRunOnlyOnceNobodyIsLeftToRunIt) {
  Host host{.sights = {Standing::paused, Standing::paused}};
  EXPECT_EQ(host.fate(), ActivationFate::never);
  EXPECT_TRUE(host.ended);
}

TEST(ActivationFate, ADomainRunWhileItsRestoreWasEndedRuns) {
  Host host{.sights = {Standing::paused, Standing::runs}};
  EXPECT_EQ(host.fate(), ActivationFate::runs);
}

TEST(ActivationFate, ADomainThatIsGoneHasNotRun) {
  Host host{.sights = {Standing::gone, Standing::gone}};
  EXPECT_EQ(host.fate(), ActivationFate::never);
}

TEST(ActivationFate, WhatCannotBeSeenIsNotTakenForDead) {
  Host blind{.sights = {no_answer(), no_answer()}};
  EXPECT_EQ(blind.fate(), ActivationFate::unknown);
  Host later{.sights = {no_answer(), Standing::runs}};
  EXPECT_EQ(later.fate(), ActivationFate::runs);
}

TEST(ActivationFate, ARestoreThatCannotBeEndedMayStillRunIt) {
  Host host{.sights = {Standing::paused, Standing::paused}, .end = fail(Errc::io, "it does not die")};
  EXPECT_EQ(host.fate(), ActivationFate::unknown);
}

}  // namespace
