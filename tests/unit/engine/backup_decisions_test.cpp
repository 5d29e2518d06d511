// The backup: what it believes of a silent primary, and when it activates.
#include "backup_fixture.hpp"

namespace remus::engine::test {
namespace {

using namespace backup_action;

class BackupDecisions : public BackupTest {
 protected:
  void grant(Backup& backup, std::int64_t at) { backup.verdict(at_ms(at), 2, Verdict::granted); }
};

TEST_F(BackupDecisions, SilenceEverywhereLeadsToActivation) {
  stand_by(backup_, 1'000);
  auto taken = run(1'600);
  EXPECT_TRUE(taken.has<DropLink>());
  EXPECT_EQ(taken.first<ClaimActivation>()->generation, 2U);
  grant(backup_, 1'601);
  taken = take(backup_);
  ASSERT_TRUE(taken.has<Activate>());
  EXPECT_EQ(taken.first<Activate>()->generation, 2U);
  EXPECT_EQ(taken.first<Activate>()->epoch, 0U);
  backup_.activated(at_ms(1'620));
  EXPECT_EQ(backup_.state(), BackupState::active);
  EXPECT_EQ(backup_.generation(), 2U);
}

TEST_F(BackupDecisions, AnEpochOnItsWayIsASignOfLife) {
  stand_by(backup_, 1'000);
  for (std::int64_t t = 1'050; t <= 2'000; t += 50) {
    backup_.traffic(at_ms(t));
    backup_.tick(at_ms(t));
  }
  EXPECT_EQ(backup_.state(), BackupState::standby);
  EXPECT_FALSE(take(backup_).has<DropLink>());
  EXPECT_TRUE(run(2'600).has<ClaimActivation>()) << "and when that ends, silence counts from there";
}

TEST_F(BackupDecisions, NewLimitsOfDetectionHoldAtOnce) {
  stand_by(backup_, 1'000);
  Config patient = config();
  patient.detect_min = std::chrono::milliseconds{1'500};
  backup_.configure(patient);
  EXPECT_FALSE(run(2'400).has<DropLink>());
  EXPECT_EQ(backup_.state(), BackupState::standby);
  EXPECT_TRUE(run(2'600).has<DropLink>());
}

TEST_F(BackupDecisions, AReportedGuestIsNotReplaced) {
  stand_by(backup_, 1'000);
  backup_.link_down(at_ms(1'010));
  talk(backup_, 1'025, 2'500, false);
  EXPECT_FALSE(take(backup_).has<ClaimActivation>());
  EXPECT_EQ(backup_.state(), BackupState::suspecting);
}

TEST_F(BackupDecisions, AClosedConnectionAloneIsNotDeath) {
  stand_by(backup_, 1'000);
  backup_.link_down(at_ms(1'010));
  EXPECT_FALSE(run(1'200).has<ClaimActivation>()) << "a report may still come";
  EXPECT_TRUE(run(1'400).has<ClaimActivation>());
}

TEST_F(BackupDecisions, WithoutAnyReportEverItWaitsLonger) {
  backup_.link_up(at_ms(0));
  backup_.session_begin(at_ms(0), session, 1);
  for (std::int64_t t = 0; t <= 1'000; t += 25) backup_.heartbeat(at_ms(t), {session, 1, at_ms(t), at_ms(t)});
  backup_.epoch_whole(at_ms(1'000), session, 0);
  backup_.epoch_applied(at_ms(1'000), session, 0);
  backup_.link_down(at_ms(1'001));
  EXPECT_FALSE(run(2'900).has<ClaimActivation>());
  EXPECT_TRUE(run(3'100).has<ClaimActivation>());
}

TEST_F(BackupDecisions, AGuestReportedGoneIsReplacedAtOnce) {
  stand_by(backup_, 1'000);
  backup_.link_down(at_ms(1'010));
  backup_.host_report(at_ms(1'015), {false, false, 1, false});
  EXPECT_TRUE(take(backup_).has<ClaimActivation>());
}

TEST_F(BackupDecisions, AGuestGoneWithALivingGuardIsTheGuardsToExplain) {
  stand_by(backup_, 1'000);
  backup_.link_down(at_ms(1'010));
  backup_.host_report(at_ms(1'015), {false, true, 1, false});
  EXPECT_FALSE(take(backup_).has<ClaimActivation>());
}

TEST_F(BackupDecisions, ACrashedGuestIsReplacedOnTheGuardsWord) {
  stand_by(backup_, 1'000);
  backup_.goodbye(at_ms(1'010), Goodbye::guest_crashed);
  EXPECT_TRUE(take(backup_).has<ClaimActivation>());
}

TEST_F(BackupDecisions, AnUnguardedGuestMakesTheImageStale) {
  stand_by(backup_, 1'000);
  backup_.link_down(at_ms(1'010));
  backup_.host_report(at_ms(1'015), {true, false, 1, false});
  EXPECT_EQ(backup_.state(), BackupState::stale);
  EXPECT_FALSE(run(5'000).has<ClaimActivation>());
}

TEST_F(BackupDecisions, AReportOfARestartedDaemonDoesNotOverruleTheLink) {
  stand_by(backup_, 1'000);
  backup_.host_report(at_ms(1'010), {true, false, 1, false});
  EXPECT_EQ(backup_.state(), BackupState::standby);
}

TEST_F(BackupDecisions, AloneOrLaterOnThePrimaryMakesTheImageStale) {
  stand_by(backup_, 1'000);
  backup_.link_down(at_ms(1'010));
  backup_.host_report(at_ms(1'015), {true, true, 1, true});
  EXPECT_EQ(backup_.state(), BackupState::stale);
  Backup other{{config(), 1, false}, at_ms(0)};
  stand_by(other, 1'000);
  other.host_report(at_ms(1'010), {true, true, 2, false});
  EXPECT_EQ(other.state(), BackupState::stale);
}

TEST_F(BackupDecisions, AnExpiredLeaseForbidsActivation) {
  stand_by(backup_, 1'000);
  backup_.link_down(at_ms(1'010));
  talk(backup_, 1'025, 4'200, false);  // reports keep it waiting until the lease has run out
  EXPECT_EQ(backup_.state(), BackupState::stale);
  EXPECT_FALSE(run(9'000).has<ClaimActivation>());
}

TEST_F(BackupDecisions, OwnSleepIsForgivenButNotByTheLease) {
  stand_by(backup_, 1'000);
  backup_.tick(at_ms(1'800));
  EXPECT_EQ(backup_.state(), BackupState::standby);
  EXPECT_FALSE(take(backup_).has<DropLink>());
  backup_.tick(at_ms(9'000));
  EXPECT_EQ(backup_.state(), BackupState::stale);
  EXPECT_FALSE(run(20'000).has<ClaimActivation>());
}

TEST_F(BackupDecisions, AFreshEchoInTheSameSessionEndsStaleness) {
  stand_by(backup_, 1'000);
  backup_.tick(at_ms(9'000));
  ASSERT_EQ(backup_.state(), BackupState::stale);
  backup_.heartbeat(at_ms(9'010), {session, 1, at_ms(1), at_ms(1'000)});
  EXPECT_EQ(backup_.state(), BackupState::stale) << "an old echo proves nothing";
  backup_.heartbeat(at_ms(9'020), {session, 1, at_ms(2), at_ms(9'015)});
  EXPECT_EQ(backup_.state(), BackupState::standby);
}

TEST_F(BackupDecisions, SilenceInTimeStaysValidAfterTheLease) {
  stand_by(backup_, 1'000);
  ASSERT_TRUE(run(1'600).has<ClaimActivation>());
  backup_.verdict(at_ms(1'601), 2, Verdict::unavailable);  // manual: nobody has approved
  static_cast<void>(run(60'000));
  EXPECT_NE(backup_.state(), BackupState::stale) << "the primary was dead before it could go alone";
  EXPECT_TRUE(backup_.operator_failover(at_ms(60'001), false).has_value());
}

TEST_F(BackupDecisions, ASignOfLifeCancelsAClaim) {
  stand_by(backup_, 1'000);
  ASSERT_TRUE(run(1'600).has<ClaimActivation>());
  backup_.host_report(at_ms(1'605), alive);
  grant(backup_, 1'610);
  EXPECT_FALSE(take(backup_).has<Activate>());
  EXPECT_EQ(backup_.state(), BackupState::suspecting);
}

TEST_F(BackupDecisions, AnExclusiveGrantBindsWhateverHappensMeanwhile) {
  stand_by(exclusive_, 1'000);
  ASSERT_TRUE(run_until(exclusive_, at_ms(1'600)).has<ClaimActivation>());
  exclusive_.host_report(at_ms(1'605), alive);
  exclusive_.link_up(at_ms(1'606));
  EXPECT_TRUE(take(exclusive_).has<DropLink>());
  EXPECT_EQ(exclusive_.hello().state, BackupState::claiming);
  grant(exclusive_, 1'610);
  EXPECT_TRUE(take(exclusive_).has<Activate>()) << "the primary will be denied and fenced";
}

TEST_F(BackupDecisions, AnExclusiveArbiterNeedsNoLease) {
  stand_by(exclusive_, 1'000);
  exclusive_.link_down(at_ms(1'010));
  talk(exclusive_, 1'025, 9'000, false);
  EXPECT_TRUE(run_until(exclusive_, at_ms(9'500)).has<ClaimActivation>());
}

TEST_F(BackupDecisions, DeniedMeansStale) {
  stand_by(exclusive_, 1'000);
  ASSERT_TRUE(run_until(exclusive_, at_ms(1'600)).has<ClaimActivation>());
  exclusive_.verdict(at_ms(1'610), 2, Verdict::denied);
  EXPECT_EQ(exclusive_.state(), BackupState::stale);
  EXPECT_FALSE(run_until(exclusive_, at_ms(9'000)).has<ClaimActivation>());
}

TEST_F(BackupDecisions, ActivationWaitsForAllThatIsHeld) {
  stand_by(backup_, 1'000);
  backup_.epoch_whole(at_ms(1'001), session, 1);
  backup_.epoch_whole(at_ms(1'002), session, 2);
  ASSERT_TRUE(run(1'600).has<ClaimActivation>());
  grant(backup_, 1'601);
  EXPECT_FALSE(take(backup_).has<Activate>());
  backup_.epoch_applied(at_ms(1'602), session, 1);
  EXPECT_FALSE(take(backup_).has<Activate>());
  backup_.epoch_applied(at_ms(1'603), session, 2);
  EXPECT_EQ(take(backup_).first<Activate>()->epoch, 2U);
}

TEST_F(BackupDecisions, AFailedActivationIsNotTriedByItself) {
  stand_by(backup_, 1'000);
  ASSERT_TRUE(run(1'600).has<ClaimActivation>());
  grant(backup_, 1'601);
  static_cast<void>(take(backup_));
  backup_.activation_failed(at_ms(1'610), "no memory");
  EXPECT_EQ(backup_.state(), BackupState::stale);
  EXPECT_EQ(backup_.generation(), 2U) << "the generation is spent";
  EXPECT_FALSE(run(9'000).has<ClaimActivation>());
  EXPECT_TRUE(backup_.operator_failover(at_ms(9'001), true).has_value());
  EXPECT_EQ(take(backup_).first<ClaimActivation>()->generation, 3U);
}

TEST_F(BackupDecisions, AStandbyThatDiesWhileItIsActivatedHasSpentTheGeneration) {
  stand_by(backup_, 1'000);
  ASSERT_TRUE(run(1'600).has<ClaimActivation>());
  grant(backup_, 1'601);
  ASSERT_EQ(take(backup_).first<Activate>()->generation, 2U);
  backup_.standby_lost(at_ms(1'610), "its process died");
  EXPECT_EQ(backup_.state(), BackupState::empty);
  EXPECT_EQ(backup_.generation(), 2U) << "it was recorded, and nobody can say that the guest never ran in it";
}

TEST_F(BackupDecisions, AGuardThatClearsUpAfterItsGuestIsNoSignOfLife) {
  stand_by(backup_, 1'000);
  backup_.goodbye(at_ms(1'010), Goodbye::guest_crashed);
  EXPECT_TRUE(take(backup_).has<ClaimActivation>());
  backup_.verdict(at_ms(1'011), 2, Verdict::unavailable);
  for (std::int64_t t = 1'050; t < 20'000; t += 50) {
    backup_.host_report(at_ms(t),
                        {.guest_running = false, .guard_running = true, .generation = 1, .alone = false});
    backup_.tick(at_ms(t));
  }
  EXPECT_NE(backup_.state(), BackupState::stale);
  EXPECT_TRUE(backup_.operator_failover(at_ms(20'000), false)) << "nobody need force it";
}

TEST_F(BackupDecisions, AnOperatorIsToldWhyNot) {
  const auto refusal = [](const std::expected<void, std::string>& answer) {
    return answer ? std::string{"accepted"} : answer.error();
  };
  EXPECT_NE(refusal(backup_.operator_failover(at_ms(0), false)).find("no whole image"), std::string::npos);
  stand_by(backup_, 1'000);
  EXPECT_NE(refusal(backup_.operator_failover(at_ms(1'001), false)).find("link is up"), std::string::npos);
  backup_.link_down(at_ms(1'010));
  EXPECT_NE(refusal(backup_.operator_failover(at_ms(1'020), false)).find("may be alive"), std::string::npos);
  backup_.host_report(at_ms(1'030), {true, false, 1, false});
  EXPECT_NE(refusal(backup_.operator_failover(at_ms(1'040), false)).find("force"), std::string::npos);
  EXPECT_FALSE(take(backup_).has<ClaimActivation>());
}

TEST_F(BackupDecisions, ForceOverridesDoubtAndUsesAGenerationLaterThanAllKnown) {
  stand_by(backup_, 1'000);
  backup_.host_report(at_ms(1'010), {true, true, 4, true});
  EXPECT_TRUE(backup_.operator_failover(at_ms(1'020), true).has_value());
  const auto taken = take(backup_);
  EXPECT_TRUE(taken.has<DropLink>());
  EXPECT_EQ(taken.first<ClaimActivation>()->generation, 5U);
  backup_.verdict(at_ms(1'021), 5, Verdict::granted);
  EXPECT_TRUE(take(backup_).has<Activate>());
}

TEST_F(BackupDecisions, AForcedFailoverNobodyGrantsLeavesThingsAsTheyWere) {
  stand_by(backup_, 1'000);
  backup_.host_report(at_ms(1'010), {true, true, 4, true});
  ASSERT_EQ(backup_.state(), BackupState::stale);
  ASSERT_TRUE(backup_.operator_failover(at_ms(1'020), true).has_value());
  backup_.verdict(at_ms(1'021), 5, Verdict::unavailable);
  EXPECT_EQ(backup_.state(), BackupState::stale);
}

}  // namespace
}  // namespace remus::engine::test
