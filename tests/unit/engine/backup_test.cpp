// The backup: links, sessions, holding and acknowledging.
#include "backup_fixture.hpp"

namespace remus::engine::test {
namespace {

using namespace backup_action;

TEST_F(BackupTest, StartsEmptyAndSaysSo) {
  EXPECT_EQ(backup_.state(), BackupState::empty);
  EXPECT_EQ(backup_.hello().session, 0U);
  EXPECT_EQ(backup_.held(), std::nullopt);
}

TEST_F(BackupTest, ASessionVoidsTheImageAndIsConfirmedAtOnce) {
  stand_by(backup_, 100);
  backup_.session_begin(at_ms(110), 78, 1);
  const auto taken = take(backup_);
  EXPECT_EQ(backup_.held(), std::nullopt);
  EXPECT_EQ(backup_.state(), BackupState::synchronizing);
  ASSERT_TRUE(taken.has<SendHeartbeat>());
  EXPECT_EQ(taken.first<SendHeartbeat>()->heartbeat.session, 78U);
}

TEST_F(BackupTest, AWholeEpochIsAcknowledgedAndApplied) {
  stand_by(backup_, 100);
  backup_.epoch_whole(at_ms(110), session, 1);
  const auto taken = take(backup_);
  EXPECT_EQ(taken.first<SendAck>()->epoch, 1U);
  EXPECT_EQ(taken.first<Apply>()->epoch, 1U);
  EXPECT_EQ(backup_.held(), 1U);
  EXPECT_EQ(backup_.applied(), 0U);
}

TEST_F(BackupTest, AGapIsAnError) {
  stand_by(backup_, 100);
  backup_.epoch_whole(at_ms(110), session, 2);
  const auto taken = take(backup_);
  EXPECT_TRUE(taken.has<DropLink>());
  EXPECT_FALSE(taken.has<SendAck>());
  EXPECT_EQ(backup_.held(), 0U);
}

TEST_F(BackupTest, ARepeatedEpochIsAcknowledgedAgainAndNotApplied) {
  stand_by(backup_, 100);
  backup_.epoch_whole(at_ms(110), session, 1);
  static_cast<void>(take(backup_));
  backup_.epoch_whole(at_ms(111), session, 1);
  const auto taken = take(backup_);
  EXPECT_EQ(taken.first<SendAck>()->epoch, 1U);
  EXPECT_FALSE(taken.has<Apply>());
}

TEST_F(BackupTest, EpochsOfAnotherSessionAreIgnored) {
  stand_by(backup_, 100);
  backup_.epoch_whole(at_ms(110), session + 1, 1);
  EXPECT_FALSE(take(backup_).has<SendAck>());
}

TEST_F(BackupTest, ALaggingImageHoldsAcknowledgementsBack) {
  stand_by(backup_, 100);
  for (Epoch epoch = 1; epoch <= 5; ++epoch) backup_.epoch_whole(at_ms(110), session, epoch);
  EXPECT_EQ(backup_.acked(), 3U) << "three epochs may be acknowledged and not applied";
  static_cast<void>(take(backup_));
  backup_.epoch_applied(at_ms(120), session, 1);
  EXPECT_EQ(take(backup_).first<SendAck>()->epoch, 4U);
}

TEST_F(BackupTest, AnImageThatLagsFarBehindGetsNoLink) {
  stand_by(backup_, 100);
  for (Epoch epoch = 1; epoch <= 7; ++epoch) backup_.epoch_whole(at_ms(110), session, epoch);
  backup_.link_down(at_ms(111));
  static_cast<void>(take(backup_));
  backup_.link_up(at_ms(120));
  EXPECT_TRUE(take(backup_).has<DropLink>());
  backup_.epoch_applied(at_ms(130), session, 1);
  backup_.link_up(at_ms(140));
  EXPECT_FALSE(take(backup_).has<DropLink>());
}

TEST_F(BackupTest, TornEpochsAreThrownAwayWithTheLink) {
  stand_by(backup_, 100);
  backup_.link_down(at_ms(110));
  EXPECT_TRUE(take(backup_).has<DiscardTorn>());
  EXPECT_EQ(backup_.state(), BackupState::suspecting);
  EXPECT_EQ(backup_.held(), 0U);
}

TEST_F(BackupTest, ALinkLostWhileSynchronizingLeavesNothing) {
  backup_.link_up(at_ms(0));
  backup_.session_begin(at_ms(0), session, 1);
  backup_.link_down(at_ms(10));
  EXPECT_EQ(backup_.state(), BackupState::empty);
  EXPECT_EQ(backup_.hello().session, 0U);
}

TEST_F(BackupTest, ASupersededPrimaryIsRefused) {
  Backup backup{{config(), 5, false}, at_ms(0)};
  backup.link_up(at_ms(0));
  backup.session_begin(at_ms(1), session, 4);
  EXPECT_TRUE(take(backup).has<DropLink>());
  EXPECT_EQ(backup.state(), BackupState::empty);
}

TEST_F(BackupTest, ADamagedImageIsGivenUp) {
  stand_by(backup_, 100);
  backup_.apply_failed(at_ms(110), session, "no memory");
  const auto taken = take(backup_);
  EXPECT_TRUE(taken.has<DiscardStandby>());
  EXPECT_TRUE(taken.has<DropLink>());
  EXPECT_EQ(backup_.state(), BackupState::empty);
  EXPECT_EQ(backup_.held(), std::nullopt);
}

TEST_F(BackupTest, ALostStandbyIsGivenUp) {
  stand_by(backup_, 100);
  backup_.standby_lost(at_ms(110), "process died");
  EXPECT_EQ(backup_.state(), BackupState::empty);
  EXPECT_FALSE(backup_.operator_failover(at_ms(120), true).has_value()) << "not even force activates nothing";
}

TEST_F(BackupTest, GoodbyeEndsAndDiscards) {
  stand_by(backup_, 100);
  backup_.goodbye(at_ms(110), Goodbye::unprotected);
  EXPECT_TRUE(take(backup_).has<DiscardStandby>());
  EXPECT_EQ(backup_.state(), BackupState::ended);
  EXPECT_EQ(backup_.next_deadline(), Time::max());
}

TEST_F(BackupTest, AnEchoFromTheFutureIsALie) {
  stand_by(backup_, 100);
  backup_.heartbeat(at_ms(110), {session, 1, at_ms(110), at_ms(5'000)});
  EXPECT_TRUE(take(backup_).has<DropLink>());
}

}  // namespace
}  // namespace remus::engine::test
