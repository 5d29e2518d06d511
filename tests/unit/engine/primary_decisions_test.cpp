// The primary: going alone, being fenced, meeting its like, ending.
#include <gmock/gmock.h>

#include "primary_fixture.hpp"

namespace remus::engine::test {
namespace {

using namespace primary_action;

class PrimaryDecisions : public PrimaryTest {};

TEST_F(PrimaryDecisions, GoesAloneOnlyAfterTheFullSilenceAndOnlyWhenGranted) {
  protect(0);
  capture(10);
  primary_.heartbeat(at_ms(1'000), {.session = primary_.session(), .generation = 1, .sent = at_ms(1)});
  primary_.link_down(at_ms(1'001));
  EXPECT_FALSE(run(3'999).has<ClaimAlone>());
  EXPECT_EQ(run(4'030).first<ClaimAlone>()->generation, 2U);
  EXPECT_TRUE(primary_.holding());
  primary_.verdict(at_ms(4'031), 2, Verdict::granted);
  EXPECT_EQ(take(primary_).first<GoAlone>()->generation, 2U);
  EXPECT_EQ(primary_.state(), PrimaryState::alone);
  EXPECT_EQ(primary_.generation(), 2U);
  EXPECT_FALSE(primary_.holding());
}

TEST_F(PrimaryDecisions, AsksAgainWhileTheArbiterIsUnavailable) {
  protect(0);
  primary_.link_down(at_ms(1));
  static_cast<void>(run(3'050));
  primary_.verdict(at_ms(3'051), 2, Verdict::unavailable);
  const auto taken = run(3'700);
  EXPECT_EQ(taken.count<ClaimAlone>(), 1U);
  EXPECT_FALSE(taken.has<GoAlone>());
  EXPECT_TRUE(primary_.holding());
  const auto said = taken.first<StateChanged>();
  ASSERT_TRUE(said) << "a guest whose output waits for the arbiter is not kept from its administrator";
  EXPECT_EQ(said->from, PrimaryState::interrupted);
  EXPECT_EQ(said->to, PrimaryState::interrupted);
  EXPECT_THAT(said->reason, testing::HasSubstr("output is held until it answers"));
  primary_.verdict(at_ms(3'701), 2, Verdict::unavailable);
  const auto later = run(4'300);
  EXPECT_EQ(later.count<ClaimAlone>(), 1U);
  EXPECT_FALSE(later.has<StateChanged>()) << "it was said";
}

TEST_F(PrimaryDecisions, SaysAnewThatTheArbiterIsUnavailableAfterTheStateWasAnother) {
  protect(0);
  primary_.link_down(at_ms(1));
  static_cast<void>(run(3'050));
  primary_.verdict(at_ms(3'051), 2, Verdict::unavailable);
  primary_.link_up(at_ms(3'060), hello(BackupState::stale, 0));
  primary_.link_down(at_ms(3'070));
  static_cast<void>(run(6'120));
  primary_.verdict(at_ms(6'121), 2, Verdict::unavailable);
  EXPECT_TRUE(take(primary_).has<StateChanged>());
}

TEST_F(PrimaryDecisions, ADoomedGuestIsStoppedOnceAndHandedOverFromItsLastCommit) {
  protect(0);
  capture(10);
  primary_.capture_ready(at_ms(11));
  primary_.checkpoint_now(at_ms(11));
  static_cast<void>(take(primary_));
  primary_.guest_doomed(at_ms(12));
  primary_.capture_failed(at_ms(13), primary_.session(), "the device model is gone");
  const auto told = take(primary_);
  EXPECT_EQ(told.count<StopGuest>(), 1U);
  EXPECT_FALSE(told.has<AbandonSession>() || told.has<BeginSession>())
      << "what the backup holds is all there is";
  primary_.acked(at_ms(20), primary_.session(), 1);
  const auto later = run(2'500);
  EXPECT_FALSE(later.has<Capture>() || later.has<BeginSession>() || later.has<PassOutput>());
  EXPECT_FALSE(later.has<StopGuest>());
  EXPECT_TRUE(primary_.holding());
  primary_.guest_gone(at_ms(2'501), false);
  EXPECT_EQ(take(primary_).first<End>()->goodbye, Goodbye::guest_crashed);
}

TEST_F(PrimaryDecisions, ADoomedGuestWithoutItsBackupWaitsForItAndNeverGoesAlone) {
  protect(0);
  primary_.link_down(at_ms(1));
  primary_.guest_doomed(at_ms(2));
  const auto meanwhile = run(10'000);
  EXPECT_FALSE(meanwhile.has<ClaimAlone>() || meanwhile.has<StopGuest>() || meanwhile.has<PassOutput>());
  EXPECT_TRUE(primary_.holding());
  primary_.link_up(at_ms(10'001), hello(BackupState::suspecting, 0));
  EXPECT_TRUE(take(primary_).has<StopGuest>());
}

TEST_F(PrimaryDecisions, ADoomedGuestThatIsNotProtectedIsLeftAlone) {
  primary_.guest_doomed(at_ms(0));
  primary_.link_up(at_ms(1), {});
  const auto told = run(5'000);
  EXPECT_FALSE(told.has<StopGuest>() || told.has<BeginSession>());
  primary_.unprotect(at_ms(5'001));
  EXPECT_EQ(take(primary_).first<End>()->goodbye, Goodbye::unprotected);
}

TEST_F(PrimaryDecisions, ADoomedGuestsProtectionCanBeTakenOff) {
  protect(0);
  primary_.link_down(at_ms(1));
  primary_.guest_doomed(at_ms(2));
  primary_.unprotect(at_ms(3));
  EXPECT_TRUE(run(5'000).has<ClaimAlone>());
}

TEST_F(PrimaryDecisions, DeniedMeansFenced) {
  protect(0);
  primary_.link_down(at_ms(1));
  static_cast<void>(run(3'050));
  primary_.verdict(at_ms(3'051), 2, Verdict::denied);
  EXPECT_EQ(take(primary_).first<Fence>()->superseded_by, 2U);
  EXPECT_EQ(primary_.state(), PrimaryState::fenced);
  EXPECT_EQ(primary_.next_deadline(), Time::max());
}

TEST_F(PrimaryDecisions, AGrantThatComesAfterTheBackupIsBackIsNotUsed) {
  protect(0);
  primary_.link_down(at_ms(1));
  static_cast<void>(run(3'050));
  primary_.link_up(at_ms(3'060), hello(BackupState::stale, 0));
  primary_.link_down(at_ms(3'070));
  static_cast<void>(take(primary_));
  primary_.verdict(at_ms(3'080), 2, Verdict::granted);
  EXPECT_FALSE(take(primary_).has<GoAlone>()) << "the backup has a new lease since the claim";
  EXPECT_EQ(primary_.generation(), 1U);
}

TEST_F(PrimaryDecisions, AnExclusiveClaimKeepsTheLinkDownUntilItsVerdict) {
  Primary primary{setup(true), at_ms(0)};
  primary.link_up(at_ms(0), {});
  primary.synchronized(at_ms(0), primary.session(), {1, 1, ms(1)});
  primary.acked(at_ms(0), primary.session(), 0);
  primary.link_down(at_ms(1));
  ASSERT_TRUE(run_until(primary, at_ms(3'050)).has<ClaimAlone>());
  primary.link_up(at_ms(3'060), {1, BackupState::standby, primary.session(), 0});
  EXPECT_TRUE(take(primary).has<DropLink>());
  EXPECT_FALSE(primary.link_is_up());
  primary.verdict(at_ms(3'100), 2, Verdict::granted);
  EXPECT_TRUE(take(primary).has<GoAlone>());
}

TEST_F(PrimaryDecisions, AfterOwnSleepTheLinkIsTriedFirst) {
  protect(0);
  primary_.link_down(at_ms(1));
  static_cast<void>(take(primary_));
  primary_.tick(at_ms(10'000));  // asked to be woken at 25 ms
  EXPECT_FALSE(take(primary_).has<ClaimAlone>());
  EXPECT_FALSE(run(10'400).has<ClaimAlone>());
  EXPECT_TRUE(run(13'100).has<ClaimAlone>());
}

TEST_F(PrimaryDecisions, AlonePrimaryTakesABackUpUnderItsNewGeneration) {
  protect(0);
  primary_.link_down(at_ms(1));
  static_cast<void>(run(3'050));
  primary_.verdict(at_ms(3'051), 2, Verdict::granted);
  static_cast<void>(take(primary_));
  primary_.link_up(at_ms(4'000), {.generation = 1, .state = BackupState::stale, .session = 5, .held = 3});
  EXPECT_EQ(take(primary_).first<BeginSession>()->generation, 2U);
}

TEST_F(PrimaryDecisions, ALaterActiveBackupFences) {
  protect(0);
  primary_.link_down(at_ms(1));
  primary_.backup_is_active(at_ms(10), 2);
  EXPECT_TRUE(take(primary_).has<Fence>());
}

TEST_F(PrimaryDecisions, ABackupThatHasBeenActiveFencesEvenIfItIsEmptyNow) {
  protect(0);
  primary_.link_down(at_ms(1));
  primary_.link_up(at_ms(10), {.generation = 2, .state = BackupState::empty});
  EXPECT_EQ(take(primary_).first<Fence>()->superseded_by, 2U);
}

TEST_F(PrimaryDecisions, TheSameGenerationOnBothSidesIsReportedAndNothingStops) {
  protect(0);
  primary_.link_down(at_ms(1));
  static_cast<void>(run(3'050));
  primary_.verdict(at_ms(3'051), 2, Verdict::granted);
  static_cast<void>(take(primary_));
  primary_.backup_is_active(at_ms(3'100), 2);
  const auto taken = take(primary_);
  EXPECT_EQ(taken.first<SplitBrain>()->generation, 2U);
  EXPECT_FALSE(taken.has<Fence>());
  EXPECT_TRUE(primary_.split_brain());
  EXPECT_EQ(primary_.state(), PrimaryState::alone);
}

TEST_F(PrimaryDecisions, AnOlderActiveSideIsNoReasonToStop) {
  Primary primary{setup(false, PrimaryStart::activated), at_ms(0)};
  primary.backup_is_active(at_ms(1), 0);
  EXPECT_FALSE(take(primary).has<Fence>());
  EXPECT_EQ(primary.state(), PrimaryState::alone);
}

TEST_F(PrimaryDecisions, ABackupThatIsDecidingGetsNoLink) {
  protect(0);
  primary_.link_down(at_ms(1));
  static_cast<void>(take(primary_));
  primary_.link_up(at_ms(10), hello(BackupState::claiming, 0));
  EXPECT_TRUE(take(primary_).has<DropLink>());
  EXPECT_FALSE(primary_.link_is_up());
  EXPECT_TRUE(primary_.holding());
}

TEST_F(PrimaryDecisions, AFreshGuestIsNeverStoppedForAnOldMemoryOfTheBackup) {
  primary_.link_up(at_ms(0), {.generation = 7, .state = BackupState::empty});
  const auto taken = take(primary_);
  EXPECT_FALSE(taken.has<Fence>());
  EXPECT_EQ(taken.first<ClaimAlone>()->generation, 8U) << "ours must be later than all that is remembered";
  primary_.verdict(at_ms(1), 8, Verdict::granted);
  EXPECT_EQ(primary_.generation(), 8U);
  primary_.link_up(at_ms(2), {.generation = 7, .state = BackupState::empty});
  EXPECT_EQ(take(primary_).first<BeginSession>()->generation, 8U);
}

TEST_F(PrimaryDecisions, AFreshGuestThatRunsElsewhereIsLeftAlone) {
  primary_.backup_is_active(at_ms(0), 9);
  const auto taken = take(primary_);
  EXPECT_FALSE(taken.has<Fence>());
  EXPECT_EQ(taken.first<End>()->goodbye, Goodbye::unprotected);
}

TEST_F(PrimaryDecisions, ARescuedGuestClaimsAtOnce) {
  Primary primary{setup(false, PrimaryStart::rescued), at_ms(0)};
  EXPECT_EQ(take(primary).first<ClaimAlone>()->generation, 2U);
  EXPECT_EQ(primary.state(), PrimaryState::interrupted);
  primary.verdict(at_ms(1), 2, Verdict::granted);
  EXPECT_TRUE(take(primary).has<GoAlone>());
}

TEST_F(PrimaryDecisions, UnprotectWaitsUntilTheBackupCannotActivate) {
  protect(0);
  capture(10);
  primary_.unprotect(at_ms(20));
  auto taken = take(primary_);
  EXPECT_TRUE(taken.has<BeginSession>());
  EXPECT_FALSE(taken.has<End>());
  EXPECT_TRUE(primary_.holding());
  primary_.heartbeat(at_ms(30), {.session = primary_.session(), .generation = 1, .sent = at_ms(1)});
  taken = take(primary_);
  EXPECT_LT(taken.position<PassOutput>(), taken.position<End>());
  EXPECT_EQ(taken.first<End>()->goodbye, Goodbye::unprotected);
  EXPECT_FALSE(taken.has<Synchronize>());
  EXPECT_EQ(primary_.state(), PrimaryState::ended);
}

TEST_F(PrimaryDecisions, UnprotectWithoutABackupGoesThroughTheArbiter) {
  protect(0);
  primary_.link_down(at_ms(10));
  primary_.unprotect(at_ms(20));
  EXPECT_FALSE(take(primary_).has<End>());
  ASSERT_TRUE(run(3'100).has<ClaimAlone>());
  primary_.verdict(at_ms(3'101), 2, Verdict::granted);
  const auto taken = take(primary_);
  EXPECT_LT(taken.position<GoAlone>(), taken.position<End>());
}

TEST_F(PrimaryDecisions, UnprotectOfAnUnprotectedGuestIsImmediate) {
  primary_.unprotect(at_ms(1));
  EXPECT_TRUE(take(primary_).has<End>());
}

TEST_F(PrimaryDecisions, AGuestThatDiesTellsTheBackupHow) {
  protect(0);
  primary_.guest_gone(at_ms(10), false);
  EXPECT_EQ(take(primary_).first<End>()->goodbye, Goodbye::guest_crashed);
  Primary other{setup(), at_ms(0)};
  other.guest_gone(at_ms(1), true);
  EXPECT_EQ(take(other).first<End>()->goodbye, Goodbye::guest_stopped);
}

}  // namespace
}  // namespace remus::engine::test
