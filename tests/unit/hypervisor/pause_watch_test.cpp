#include "hypervisor/qemu/pause_watch.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <semaphore>
#include <thread>

#include "fake_qmp.hpp"

namespace remus::hypervisor::qemu {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;

std::int64_t wall_us() {
  return duration_cast<microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class PauseWatchTest : public test::QmpTest {
 protected:
  /// QEMU tells of an event at that time of its clock, and we have taken it in.
  void event(const char* name, std::int64_t us) {
    say(client_,
        nlohmann::json{{"event", name},
                       {"timestamp", {{"seconds", us / 1'000'000}, {"microseconds", us % 1'000'000}}}}
                .dump() +
            "\n");
    say(client_, R"({"event": "TAKEN", "timestamp": {"seconds": 0, "microseconds": 0}})"
                 "\n");
    taken_.acquire();
  }

  void SetUp() override {
    QmpTest::SetUp();
    serve([this](int client) {
      client_ = client;
      say(client, test::greeting);
      answer(client, hear(client), nlohmann::json::object());
      hang_until_closed(client);
    });
    auto connected = Qmp::connect(path_);
    ASSERT_TRUE(connected) << connected.error().text();
    qmp_ = *connected;
    subscription_ = qmp_->subscribe([this](const Event& event) {
      if (event.name == "TAKEN") taken_.release();
    });
  }
  void TearDown() override {
    if (qmp_) qmp_->close();
    QmpTest::TearDown();
  }

  std::atomic<int> client_{-1};
  std::counting_semaphore<> taken_{0};
  std::shared_ptr<Qmp> qmp_{};
  std::shared_ptr<void> subscription_{};
};

TEST_F(PauseWatchTest, LastsFromStopToResume) {
  PauseWatch watch{*qmp_};
  watch.asked();
  std::this_thread::sleep_for(milliseconds{10});
  event("STOP", wall_us());
  std::this_thread::sleep_for(milliseconds{20});  // QEMU flushes disks
  watch.stopped();
  watch.released();
  std::this_thread::sleep_for(milliseconds{5});
  event("RESUME", wall_us());
  const auto times = watch.times();
  // Two clocks: a millisecond is theirs.
  EXPECT_GE(times.stop_us, 9'000U);
  EXPECT_GE(times.drain_us, 19'000U);
  EXPECT_GE(times.pause_us, times.drain_us + 4'000U);
}

TEST_F(PauseWatchTest, AnEarlierPausesEventsAreNotThisOnes) {
  PauseWatch watch{*qmp_};
  event("STOP", wall_us());
  event("RESUME", wall_us());
  watch.asked();
  std::this_thread::sleep_for(milliseconds{10});
  watch.stopped();
  std::this_thread::sleep_for(milliseconds{3});
  watch.released();
  const auto times = watch.times();
  EXPECT_GE(times.stop_us, 10'000U) << "without an event our own moments count";
  EXPECT_EQ(times.drain_us, 0U);
  EXPECT_GE(times.pause_us, 3'000U);
}

TEST_F(PauseWatchTest, AWallClockThatWasSetIsNotBelieved) {
  constexpr std::int64_t hour_us = 3'600'000'000;
  for (const std::int64_t step : {-hour_us, hour_us}) {
    PauseWatch watch{*qmp_};
    const auto begin = PauseWatch::Clock::now();
    watch.asked();
    std::this_thread::sleep_for(milliseconds{2});
    event("STOP", wall_us() + step);
    watch.stopped();
    watch.released();
    event("RESUME", wall_us() + step);
    const auto times = watch.times();
    const auto all_us =
        static_cast<std::uint64_t>(duration_cast<microseconds>(PauseWatch::Clock::now() - begin).count());
    EXPECT_LE(times.stop_us + times.pause_us, all_us + 1) << step;
    EXPECT_LE(times.drain_us, times.pause_us) << step;
  }
}

TEST_F(PauseWatchTest, AStopWithinThePauseCountsAnew) {
  PauseWatch watch{*qmp_};
  watch.asked();
  event("STOP", wall_us());
  event("RESUME", wall_us());
  std::this_thread::sleep_for(milliseconds{10});
  event("STOP", wall_us());
  watch.stopped();
  watch.released();
  event("RESUME", wall_us());
  EXPECT_GE(watch.times().stop_us, 9'000U);
}

}  // namespace
}  // namespace remus::hypervisor::qemu
