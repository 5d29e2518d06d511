#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guard/api.hpp"

namespace remus::guard {
namespace {

GuardStatus sample() {
  GuardStatus s;
  s.guest = "web1";
  s.side = Side::backup;
  s.peer = "hostA";
  s.phase = Phase::running;
  s.state = "standby";
  s.reason = "synchronized";
  s.last_error = Error{Errc::unreachable, "no answer", "look at the cable"};
  s.generation = 3;
  s.session = 0xfedcba9876543210ULL;
  s.alone = true;
  s.epoch = {10, 9, 8, 120, 1000, 33.5};
  s.pause = {900, 2000, 850, 3000, 0.03};
  s.traffic = {120, 99.5, 1000, 250};
  s.output = {1, 2, 3, 4, 5};
  s.sync = GuardStatus::Sync{43, 100, 1.5};
  s.link = {"up", "10.0.0.2:7601", 150, 4000};
  s.arbiter = ArbiterKind::manual;
  s.pid = 11;
  s.keeper_pid = 10;
  s.guest_pid = 9;
  s.handle = {{"qmp", "/run/x"}, {"pid", 9}};
  s.uptime_ms = 5;
  s.memory_overhead_bytes = 6;
  s.failover = GuardStatus::Failover{300, 12, 9, "2025-01-31T23:59:59.000Z"};
  s.last_event = 77;
  s.options.engine.interval = std::chrono::milliseconds{20};
  return s;
}

TEST(StatusJson, WhatIsWrittenIsReadBack) {
  const auto written = to_json(sample());
  const auto read = status_from_json(written);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(to_json(*read), written);
  const auto bare = status_from_json(to_json(GuardStatus{}));
  ASSERT_TRUE(bare.has_value());
  EXPECT_EQ(to_json(*bare), to_json(GuardStatus{}));
}

TEST(StatusJson, AnotherVersionsStatusIsReadAsFarAsItGoes) {
  auto written = to_json(sample());
  written["news"] = 1;
  written["generation"] = "three";
  written["pause"] = nullptr;
  written["options"]["unheard"] = 1;
  const auto read = status_from_json(written);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->guest, "web1");
  EXPECT_EQ(read->generation, 0U);
  EXPECT_EQ(read->epoch.captured, 10U);
}

TEST(StatusJson, SomethingElseIsCorrupt) {
  for (const char* text : {"null", "[]", "3", "{}", R"({"guest": "x"})"})
    EXPECT_EQ(status_from_json(nlohmann::json::parse(text)).error().kind, Errc::corrupt) << text;
}

TEST(StatusJson, ErrorsKeepTheirKind) {
  for (const auto kind : {Errc::invalid, Errc::refused, Errc::exhausted, Errc::internal, Errc::closed}) {
    const auto read = error_from_json(to_json(Error{kind, "what", "fix"}));
    EXPECT_EQ(read.kind, kind);
    EXPECT_EQ(read.text(), "what; fix");
  }
  EXPECT_EQ(error_from_json("nonsense").kind, Errc::internal);
}

TEST(StatusJson, EventsAndReports) {
  const GuardEvent event{
      3, "2025-01-31T23:59:59.000Z", "web1", Side::backup, "state", "text", {{"from", "a"}}};
  EXPECT_EQ(to_json(event_from_json(to_json(event)).value()), to_json(event));
  const VerifyReport report{4, 100, 1, {{"pc.ram", 7}}, 55};
  EXPECT_EQ(to_json(verify_report_from_json(to_json(report)).value()), to_json(report));
  const engine::HostReport host{true, false, 4, true};
  EXPECT_EQ(to_json(report_from_json(to_json(host)).value()), to_json(host));
  EXPECT_FALSE(report_from_json(nlohmann::json::object()).has_value())
      << "silence must not read as a dead guest";
}

TEST(StatusJson, TimeIsUtcWithMilliseconds) {
  EXPECT_THAT(utc_now(),
              testing::MatchesRegex("20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9:]*\\.[0-9][0-9][0-9]Z"));
}

}  // namespace
}  // namespace remus::guard
