// A primary with a short configuration, and the usual ways into its states.
#pragma once

#include "support.hpp"

namespace remus::engine::test {

class PrimaryTest : public testing::Test {
 protected:
  static Config config() {
    Config config;
    config.interval = ms(50);
    config.max_epochs_in_flight = 3;
    config.max_bytes_in_flight = 1'000'000;
    config.resync_min = ms(100);
    config.resync_max = ms(2'000);
    config.capture_max = ms(1'000);
    return config;
  }
  static Primary::Setup setup(bool exclusive = false, PrimaryStart start = PrimaryStart::fresh) {
    return {config(), 1, 42, exclusive, start};
  }

  void synchronize(std::int64_t at) {
    primary_.link_up(at_ms(at), {});
    primary_.synchronized(at_ms(at), primary_.session(), {1, 1'000, ms(1)});
    static_cast<void>(take(primary_));
  }
  void protect(std::int64_t at) {
    synchronize(at);
    primary_.acked(at_ms(at), primary_.session(), 0);
    static_cast<void>(take(primary_));
    ASSERT_EQ(primary_.state(), PrimaryState::protected_);
  }
  /// One epoch is captured on demand at that time.
  void capture(std::int64_t at) {
    primary_.capture_ready(at_ms(at));
    primary_.checkpoint_now(at_ms(at));
    const auto wanted = take(primary_).first<primary_action::Capture>();
    ASSERT_TRUE(wanted);
    primary_.captured(at_ms(at), wanted->session, wanted->epoch, {1, 1'000, ms(1)});
  }
  /// Time passes; the deadlines are kept.
  auto run(std::int64_t until) { return run_until(primary_, at_ms(until)); }
  [[nodiscard]] BackupHello hello(BackupState state, Epoch held) const {
    return {primary_.generation(), state, primary_.session(), held};
  }

  Primary primary_{setup(), at_ms(0)};
};

}  // namespace remus::engine::test
