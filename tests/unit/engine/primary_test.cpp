// The primary: sessions, pipelined commits, output commit, back-pressure, links.
#include "primary_fixture.hpp"

namespace remus::engine::test {
namespace {

using namespace primary_action;

TEST_F(PrimaryTest, ALinkBringsASession) {
  primary_.link_up(at_ms(0), {});
  const auto taken = take(primary_);
  ASSERT_TRUE(taken.has<BeginSession>());
  ASSERT_TRUE(taken.has<Synchronize>());
  EXPECT_NE(taken.first<BeginSession>()->session, 0U);
  EXPECT_EQ(taken.first<BeginSession>()->session, taken.first<Synchronize>()->session);
  EXPECT_EQ(primary_.state(), PrimaryState::synchronizing);
  EXPECT_FALSE(primary_.holding());
}

TEST_F(PrimaryTest, ProtectedOnlyWhenEpochZeroIsAcknowledged) {
  synchronize(0);
  EXPECT_EQ(primary_.state(), PrimaryState::synchronizing);
  EXPECT_TRUE(primary_.holding());
  EXPECT_EQ(primary_.committed(), std::nullopt);
  primary_.acked(at_ms(5), primary_.session(), 0);
  EXPECT_EQ(take(primary_).first<Release>()->upto, 0U);
  EXPECT_EQ(primary_.state(), PrimaryState::protected_);
  EXPECT_EQ(primary_.committed(), 0U);
}

TEST_F(PrimaryTest, NothingIsReleasedBeforeItsAck) {
  protect(0);
  capture(100);
  EXPECT_FALSE(take(primary_).has<Release>());
  primary_.acked(at_ms(110), primary_.session(), 1);
  EXPECT_EQ(take(primary_).first<Release>()->upto, 1U);
}

TEST_F(PrimaryTest, AcksAreCumulativeAndRepeatsAreHarmless) {
  protect(0);
  capture(100);
  capture(200);
  capture(300);
  primary_.acked(at_ms(310), primary_.session(), 3);
  EXPECT_EQ(take(primary_).first<Release>()->upto, 3U);
  primary_.acked(at_ms(311), primary_.session(), 2);
  EXPECT_FALSE(take(primary_).has<Release>());
  EXPECT_EQ(primary_.epochs_in_flight(), 0U);
}

TEST_F(PrimaryTest, AnAckOfWhatWasNotCapturedIsALie) {
  protect(0);
  primary_.acked(at_ms(10), primary_.session(), 7);
  const auto taken = take(primary_);
  EXPECT_TRUE(taken.has<DropLink>());
  EXPECT_FALSE(taken.has<Release>());
  EXPECT_EQ(primary_.state(), PrimaryState::interrupted);
}

TEST_F(PrimaryTest, AnAckDuringSynchronizationIsALie) {
  primary_.link_up(at_ms(0), {});
  primary_.acked(at_ms(1), primary_.session(), 0);
  EXPECT_TRUE(take(primary_).has<DropLink>());
}

TEST_F(PrimaryTest, AnAckOfAnotherSessionIsIgnored) {
  protect(0);
  capture(100);
  primary_.acked(at_ms(101), primary_.session() + 1, 1);
  const auto taken = take(primary_);
  EXPECT_FALSE(taken.has<Release>());
  EXPECT_FALSE(taken.has<DropLink>());
}

TEST_F(PrimaryTest, AFullPipelineMakesTheNextCaptureWait) {
  protect(0);
  for (int i = 1; i <= 3; ++i) capture(i * 100);
  primary_.capture_ready(at_ms(301));
  EXPECT_FALSE(run(600).has<Capture>()) << "three epochs in flight are the limit";
  primary_.acked(at_ms(601), primary_.session(), 1);
  EXPECT_TRUE(take(primary_).has<Capture>());
}

TEST_F(PrimaryTest, BytesInFlightAreBounded) {
  protect(0);
  primary_.capture_ready(at_ms(1));
  static_cast<void>(run(200));
  primary_.captured(at_ms(200), primary_.session(), 1, {1, 2'000'000, ms(1)});
  primary_.capture_ready(at_ms(201));
  EXPECT_FALSE(run(500).has<Capture>());
  EXPECT_EQ(primary_.bytes_in_flight(), 2'000'000U);
  primary_.acked(at_ms(501), primary_.session(), 1);
  EXPECT_TRUE(take(primary_).has<Capture>());
}

TEST_F(PrimaryTest, OutputWaitingBringsTheCaptureForward) {
  protect(0);
  primary_.capture_ready(at_ms(10));
  EXPECT_FALSE(run(20).has<Capture>());
  primary_.output_waiting(at_ms(20));
  EXPECT_TRUE(run(25).has<Capture>());
}

TEST_F(PrimaryTest, OutputThatWaitsDuringACaptureIsNotForgotten) {
  protect(0);
  primary_.capture_ready(at_ms(1));
  ASSERT_TRUE(run(150).has<Capture>());
  primary_.output_waiting(at_ms(151));
  primary_.captured(at_ms(152), primary_.session(), 1, {1, 1, ms(1)});
  primary_.capture_ready(at_ms(153));
  EXPECT_TRUE(run(170).has<Capture>());
}

TEST_F(PrimaryTest, ACheckpointOnDemand) {
  protect(0);
  primary_.capture_ready(at_ms(1));
  primary_.checkpoint_now(at_ms(2));
  EXPECT_TRUE(take(primary_).has<Capture>());
}

TEST_F(PrimaryTest, ALostLinkHoldsAndTheSameSessionResumes) {
  protect(0);
  capture(100);
  capture(200);
  primary_.link_down(at_ms(210));
  EXPECT_EQ(primary_.state(), PrimaryState::interrupted);
  EXPECT_TRUE(primary_.holding());
  primary_.link_up(at_ms(250), hello(BackupState::suspecting, 1));
  const auto taken = take(primary_);
  EXPECT_EQ(taken.first<Release>()->upto, 1U) << "what the hello says is held counts as acknowledged";
  EXPECT_EQ(taken.first<Resend>()->after, 1U);
  EXPECT_FALSE(taken.has<BeginSession>());
  EXPECT_EQ(primary_.state(), PrimaryState::protected_);
}

TEST_F(PrimaryTest, CapturesGoOnWithoutALinkUntilThePipelineIsFull) {
  protect(0);
  primary_.link_down(at_ms(10));
  static_cast<void>(take(primary_));
  for (int i = 1; i <= 3; ++i) capture(i * 100);
  primary_.capture_ready(at_ms(320));
  EXPECT_FALSE(run(800).has<Capture>());
}

TEST_F(PrimaryTest, ABackupThatForgotGetsANewSessionAndOutputStaysHeldUntilItSaysSo) {
  protect(0);
  capture(100);
  const Session old = primary_.session();
  primary_.link_down(at_ms(110));
  static_cast<void>(take(primary_));
  primary_.link_up(at_ms(150), {.generation = 1, .state = BackupState::empty});
  auto taken = take(primary_);
  EXPECT_TRUE(taken.has<AbandonSession>());
  ASSERT_TRUE(taken.has<BeginSession>());
  EXPECT_FALSE(taken.has<PassOutput>());
  EXPECT_FALSE(taken.has<Synchronize>());
  EXPECT_NE(primary_.session(), old);
  EXPECT_TRUE(primary_.holding());
  primary_.heartbeat(at_ms(155), {.session = old, .generation = 1, .sent = at_ms(1)});
  EXPECT_TRUE(primary_.holding());
  primary_.heartbeat(at_ms(160), {.session = primary_.session(), .generation = 1, .sent = at_ms(2)});
  taken = take(primary_);
  EXPECT_TRUE(taken.has<PassOutput>());
  EXPECT_LT(taken.position<PassOutput>(), taken.position<Synchronize>())
      << "or epoch 0's hold could be undone";
  EXPECT_FALSE(primary_.holding());
}

TEST_F(PrimaryTest, ABackupThatLostAcknowledgedEpochsCannotResume) {
  protect(0);
  capture(100);
  primary_.acked(at_ms(105), primary_.session(), 1);
  primary_.link_down(at_ms(110));
  static_cast<void>(take(primary_));
  primary_.link_up(at_ms(120), hello(BackupState::standby, 0));
  const auto taken = take(primary_);
  EXPECT_FALSE(taken.has<Resend>());
  EXPECT_TRUE(taken.has<BeginSession>());
}

TEST_F(PrimaryTest, ABackupThatClaimsMoreThanWasCapturedCannotResume) {
  protect(0);
  primary_.link_down(at_ms(10));
  static_cast<void>(take(primary_));
  primary_.link_up(at_ms(20), hello(BackupState::standby, 9));
  const auto taken = take(primary_);
  EXPECT_FALSE(taken.has<Release>());
  EXPECT_TRUE(taken.has<BeginSession>());
}

TEST_F(PrimaryTest, EpochZeroMayBeHeldAlthoughItsAckWasLost) {
  synchronize(0);
  primary_.link_down(at_ms(10));
  EXPECT_EQ(primary_.state(), PrimaryState::interrupted) << "the backup could activate from epoch 0";
  EXPECT_TRUE(primary_.holding());
  primary_.link_up(at_ms(20), hello(BackupState::standby, 0));
  EXPECT_EQ(primary_.state(), PrimaryState::protected_);
}

TEST_F(PrimaryTest, ALinkLostBeforeEpochZeroLeavesTheGuestUnprotectedAndSpeaking) {
  primary_.link_up(at_ms(0), {});
  static_cast<void>(take(primary_));
  primary_.link_down(at_ms(50));
  const auto taken = take(primary_);
  EXPECT_TRUE(taken.has<AbandonSession>());
  EXPECT_TRUE(taken.has<PassOutput>());
  EXPECT_EQ(primary_.state(), PrimaryState::idle);
}

TEST_F(PrimaryTest, FailedSynchronizationsBackOff) {
  Time now = at_ms(0);
  primary_.link_up(now, {});
  Duration last{};
  for (int i = 0; i < 6; ++i) {
    static_cast<void>(take(primary_));
    const Time failed = now;
    primary_.sync_failed(now, primary_.session(), "no");
    while (primary_.state() != PrimaryState::synchronizing) {
      now = primary_.next_deadline();
      primary_.heartbeat(now, {.session = 0, .generation = 1, .sent = now});
      primary_.tick(now);
      ASSERT_LT(now - failed, ms(3'000));
    }
    EXPECT_GE(now - failed, last);
    last = now - failed;
  }
  EXPECT_GE(last, ms(1'000));
  EXPECT_LE(last, config().resync_max + config().heartbeat);
}

TEST_F(PrimaryTest, AFailedCaptureReplacesTheSession) {
  protect(0);
  primary_.capture_ready(at_ms(1));
  ASSERT_TRUE(run(150).has<Capture>());
  primary_.capture_failed(at_ms(151), primary_.session(), "QMP");
  const auto taken = take(primary_);
  EXPECT_TRUE(taken.has<AbandonSession>());
  EXPECT_TRUE(taken.has<BeginSession>()) << "at once: it makes the backup's image void";
  EXPECT_FALSE(taken.has<PassOutput>());
  EXPECT_EQ(primary_.state(), PrimaryState::interrupted);
}

TEST_F(PrimaryTest, ACaptureThatHangsIsAbandoned) {
  protect(0);
  primary_.capture_ready(at_ms(1));
  ASSERT_TRUE(run(150).has<Capture>());
  EXPECT_TRUE(run(150 + 1'100).has<AbandonSession>());
}

TEST_F(PrimaryTest, ResultsOfAnAbandonedSessionAreIgnored) {
  protect(0);
  const Session old = primary_.session();
  primary_.capture_ready(at_ms(1));
  ASSERT_TRUE(run(150).has<Capture>());
  primary_.capture_failed(at_ms(151), old, "QMP");
  static_cast<void>(take(primary_));
  primary_.captured(at_ms(152), old, 1, {1, 1, ms(1)});
  primary_.capture_failed(at_ms(152), old, "again");
  primary_.synchronized(at_ms(152), old, {});
  EXPECT_FALSE(take(primary_).has<AbandonSession>());
  EXPECT_EQ(primary_.epochs_in_flight(), 0U);
}

TEST_F(PrimaryTest, ASilentBackupLosesItsLink) {
  protect(0);
  const auto taken = run(3'000);
  EXPECT_TRUE(taken.has<DropLink>());
  EXPECT_FALSE(primary_.link_is_up());
  EXPECT_EQ(primary_.state(), PrimaryState::interrupted);
}

TEST_F(PrimaryTest, HeartbeatsEchoTheNewestTimeHeard) {
  protect(0);
  primary_.heartbeat(at_ms(30), {.session = primary_.session(), .generation = 1, .sent = at_ms(77)});
  primary_.heartbeat(at_ms(31), {.session = primary_.session(), .generation = 1, .sent = at_ms(70)});
  const auto taken = run(60);
  ASSERT_TRUE(taken.has<SendHeartbeat>());
  EXPECT_EQ(taken.first<SendHeartbeat>()->heartbeat.echo, at_ms(77));
  EXPECT_EQ(taken.first<SendHeartbeat>()->heartbeat.session, primary_.session());
}

TEST_F(PrimaryTest, ARefusingBackupIsTriedAgainLater) {
  primary_.link_up(at_ms(0), {});
  static_cast<void>(take(primary_));
  primary_.backup_refused(at_ms(1), "no memory");
  EXPECT_EQ(primary_.state(), PrimaryState::idle);
  EXPECT_TRUE(take(primary_).has<DropLink>());
  primary_.link_up(at_ms(2), {});
  EXPECT_FALSE(take(primary_).has<Synchronize>());
  EXPECT_TRUE(run(300).has<Synchronize>());
}

TEST_F(PrimaryTest, EventsOfALinkThatIsGoneAreIgnored) {
  protect(0);
  capture(100);
  primary_.link_down(at_ms(101));
  static_cast<void>(take(primary_));
  primary_.acked(at_ms(102), primary_.session(), 1);
  EXPECT_FALSE(take(primary_).has<Release>());
}

}  // namespace
}  // namespace remus::engine::test
