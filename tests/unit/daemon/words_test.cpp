#include "daemon/words.hpp"

#include <gtest/gtest.h>

namespace remus::daemon {
namespace {

using std::chrono::milliseconds;

GuestFacts primary(const char* state) {
  GuestFacts f;
  f.peer = "hostB";
  f.guard_exists = true;
  f.guest_exists = true;
  f.status.emplace();
  f.status->phase = guard::Phase::running;
  f.status->state = state;
  f.status->link.state = "up";
  return f;
}

TEST(Words, ProtectedIsSaidPlainly) {
  const auto words = words_for(primary("protected"));
  EXPECT_EQ(words.text, "protected");
  EXPECT_TRUE(words.is_protected);
}

TEST(Words, SynchronizationSaysHowFar) {
  auto f = primary("synchronizing");
  f.status->sync = guard::GuardStatus::Sync{43, 100, std::nullopt};
  EXPECT_EQ(words_for(f).text, "synchronizing 43 %");
  EXPECT_FALSE(words_for(f).is_protected);
}

TEST(Words, ALostLinkSaysSinceWhen) {
  auto f = primary("alone");
  f.status->link.state = "down";
  f.status->link.since_ms = 3100;
  EXPECT_EQ(words_for(f).text, "UNPROTECTED: link to hostB lost 3 s ago");
  f.status->state = "interrupted";
  EXPECT_EQ(words_for(f).text, "interrupted, output held: link to hostB lost 3 s ago");
}

TEST(Words, NothingIsCalledProtectedOnOldNews) {
  auto f = primary("protected");
  f.status_age = milliseconds{4000};
  const auto words = words_for(f);
  EXPECT_EQ(words.state, "unknown");
  EXPECT_FALSE(words.is_protected);
  EXPECT_EQ(words.text, "UNKNOWN: its guard has not answered for 4 s (last: protected)");
}

TEST(Words, NothingIsCalledProtectedWithoutGuardOrGuest) {
  auto f = primary("protected");
  f.guard_exists = false;
  EXPECT_EQ(words_for(f).text, "UNPROTECTED: its guard is not running");
  f.guest_exists = false;
  EXPECT_EQ(words_for(f).state, "gone");
  f = primary("protected");
  f.superseded = true;
  EXPECT_EQ(words_for(f).state, "superseded");
  EXPECT_FALSE(words_for(f).is_protected);
}

TEST(Words, EveryStateOfTheEnginesHasWordsAndOnlyTheSafeOnesAreSafe) {
  using engine::BackupState;
  using engine::PrimaryState;
  for (const auto state :
       {PrimaryState::idle, PrimaryState::synchronizing, PrimaryState::protected_, PrimaryState::interrupted,
        PrimaryState::alone, PrimaryState::fenced, PrimaryState::ended}) {
    const auto words = words_for(primary(std::string{engine::to_string(state)}.c_str()));
    EXPECT_FALSE(words.text.empty());
    EXPECT_EQ(words.is_protected, state == PrimaryState::protected_) << words.text;
  }
  for (const auto state : {BackupState::empty, BackupState::synchronizing, BackupState::standby,
                           BackupState::suspecting, BackupState::stale, BackupState::claiming,
                           BackupState::activating, BackupState::active, BackupState::ended}) {
    auto f = primary(std::string{engine::to_string(state)}.c_str());
    f.role = Role::backup;
    const auto words = words_for(f);
    EXPECT_FALSE(words.text.empty());
    EXPECT_EQ(words.is_protected, state == BackupState::standby) << words.text;
  }
}

TEST(Words, ABackupSaysWhetherItSuspectsOrClaims) {
  auto f = primary("suspecting");
  f.role = Role::backup;
  f.peer = "hostA";
  f.status->reason = "no sign of life";
  f.status->last_error = Error{Errc::io, "something of yesterday", {}};
  EXPECT_EQ(words_for(f).state, "suspecting");
  EXPECT_EQ(words_for(f).text, "suspecting that hostA is dead: no sign of life");
  f.status->link.state = "down";
  f.status->link.since_ms = 400;
  EXPECT_EQ(words_for(f).text, "suspecting that hostA is dead: link to hostA lost 400 ms ago");
  f.status->state = "claiming";
  EXPECT_EQ(words_for(f).state, "claiming");
  EXPECT_EQ(words_for(f).text, "asking the arbiter for the guest: no sign of life");
}

TEST(Words, RoughDurations) {
  EXPECT_EQ(rough_duration(milliseconds{850}), "850 ms");
  EXPECT_EQ(rough_duration(milliseconds{3999}), "3 s");
  EXPECT_EQ(rough_duration(milliseconds{240'000}), "4 min");
  EXPECT_EQ(rough_duration(milliseconds{7'800'000}), "2 h 10 min");
  EXPECT_EQ(rough_duration(milliseconds{3 * 86'400'000LL}), "3 days");
}

}  // namespace
}  // namespace remus::daemon
