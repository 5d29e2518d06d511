// A backup with a short configuration, and the usual ways into its states.
#pragma once

#include "support.hpp"

namespace remus::engine::test {

class BackupTest : public testing::Test {
 protected:
  static constexpr Session session = 77;
  static constexpr HostReport alive{
      .guest_running = true, .guard_running = true, .generation = 1, .alone = false};

  static Config config() {
    Config config;
    config.max_epochs_in_flight = 3;
    return config;
  }

  /// A standby of epoch 0 that has exchanged heartbeats and reports until `until`.
  void stand_by(Backup& backup, std::int64_t until) {
    backup.link_up(at_ms(0));
    backup.session_begin(at_ms(0), session, 1);
    talk(backup, 0, until);
    backup.epoch_whole(at_ms(until), session, 0);
    backup.epoch_applied(at_ms(until), session, 0);
    static_cast<void>(take(backup));
    ASSERT_EQ(backup.state(), BackupState::standby);
  }
  /// The primary beats every 25 ms and has just heard of us; its host reports every 50 ms.
  void talk(Backup& backup, std::int64_t from, std::int64_t until, bool link = true) {
    for (std::int64_t t = from; t <= until; t += 25) {
      if (link) backup.heartbeat(at_ms(t), {session, 1, at_ms(t), at_ms(t)});
      if (t % 50 == 0) backup.host_report(at_ms(t), alive);
      backup.tick(at_ms(t));
    }
  }
  auto run(std::int64_t until) { return run_until(backup_, at_ms(until)); }

  Backup backup_{{config(), 1, false}, at_ms(0)};
  Backup exclusive_{{config(), 1, true}, at_ms(0)};
};

}  // namespace remus::engine::test
