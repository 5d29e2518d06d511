#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

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
  s.disks = {{"vda", DiskMode::replicate, "copying", 100, 43, 90, 7, 8, 9, 10},
             {"vdb", DiskMode::external, "external", {}, {}, {}, {}, {}, {}, {}}};
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

/// Nothing is known, but that all parts are there.
GuardStatus none_known() {
  GuardStatus none;
  none.sync = GuardStatus::Sync{};
  none.disks.emplace_back();
  return none;
}

/// Every member of a status that may be absent, as a JSON pointer, with how to see it in what was read.
struct Optional {
  const char* pointer;
  nlohmann::json present;
  std::function<nlohmann::json(const GuardStatus&)> seen;
};

template <typename T>
nlohmann::json seen(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

std::vector<Optional> optionals() {
  const auto number = [](const char* pointer, std::uint64_t value, auto part, auto member) {
    return Optional{pointer, value, [=](const GuardStatus& s) { return seen(s.*part.*member); }};
  };
  const auto real = [](const char* pointer, double value, auto part, auto member) {
    return Optional{pointer, value, [=](const GuardStatus& s) { return seen(s.*part.*member); }};
  };
  using S = GuardStatus;
  const auto disk = [](const char* pointer, std::optional<std::uint64_t> S::Disk::*member) {
    return Optional{pointer, 0U, [=](const S& s) { return seen(s.disks.at(0).*member); }};
  };
  return {
      {"/alone", false, [](const S& s) { return seen(s.alone); }},
      number("/epoch/captured", 0, &S::epoch, &S::Epochs::captured),
      number("/epoch/committed", 0, &S::epoch, &S::Epochs::committed),
      number("/epoch/applied", 7, &S::epoch, &S::Epochs::applied),
      number("/epoch/age_of_last_commit_ms", 0, &S::epoch, &S::Epochs::age_of_last_commit_ms),
      number("/pause/p50_us", 1, &S::pause, &S::Pause::p50_us),
      number("/pause/p99_us", 2, &S::pause, &S::Pause::p99_us),
      number("/pause/last_us", 0, &S::pause, &S::Pause::last_us),
      number("/pause/max_us", 3, &S::pause, &S::Pause::max_us),
      real("/pause/overhead", 0.25, &S::pause, &S::Pause::overhead),
      number("/traffic/dirty_pages_last", 0, &S::traffic, &S::Traffic::dirty_pages_last),
      real("/traffic/dirty_pages_avg", 1.5, &S::traffic, &S::Traffic::dirty_pages_avg),
      number("/traffic/raw_bytes", 0, &S::traffic, &S::Traffic::raw_bytes),
      number("/traffic/wire_bytes", 5, &S::traffic, &S::Traffic::wire_bytes),
      number("/output/held_packets", 0, &S::output, &S::Output::held_packets),
      number("/output/held_bytes", 1, &S::output, &S::Output::held_bytes),
      number("/output/released_packets", 2, &S::output, &S::Output::released_packets),
      number("/output/released_bytes", 3, &S::output, &S::Output::released_bytes),
      number("/output/dropped_packets", 0, &S::output, &S::Output::dropped_packets),
      number("/link/rtt_us", 120, &S::link, &S::Link::rtt_us),
      {"/keeper_pid", 10U, [](const S& s) { return seen(s.keeper_pid); }},
      {"/guest_pid", 9U, [](const S& s) { return seen(s.guest_pid); }},
      disk("/disks/0/bytes", &S::Disk::bytes),
      disk("/disks/0/compared_bytes", &S::Disk::compared_bytes),
      disk("/disks/0/copied_bytes", &S::Disk::copied_bytes),
      disk("/disks/0/total_bytes", &S::Disk::total_bytes),
      disk("/disks/0/log_bytes", &S::Disk::log_bytes),
      disk("/disks/0/writes", &S::Disk::writes),
      disk("/disks/0/written_bytes", &S::Disk::written_bytes),
      disk("/disks/0/resync_bytes", &S::Disk::resync_bytes),
      {"/sync/eta_s", 2.5, [](const S& s) { return s.sync ? seen(s.sync->eta_s) : nlohmann::json(); }},
  };
}

TEST(StatusJson, WhatIsNotKnownIsNullAndNeverANought) {
  const GuardStatus none = none_known();
  for (const auto& [pointer, present, seen_in] : optionals()) {
    const nlohmann::json::json_pointer at{pointer};
    const auto written = to_json(none);
    ASSERT_TRUE(written.contains(at)) << pointer;
    EXPECT_TRUE(written.at(at).is_null()) << pointer;
    const auto absent = status_from_json(written);
    ASSERT_TRUE(absent.has_value());
    EXPECT_TRUE(seen_in(*absent).is_null()) << pointer;

    auto changed = written;
    changed[at] = present;
    const auto read = status_from_json(changed);
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(seen_in(*read), present) << pointer << ": a nought that is known is a nought";
    auto again = to_json(*read);
    again["traffic"]["ratio"] = changed["traffic"]["ratio"];  // follows from others
    EXPECT_EQ(again, changed) << pointer;
  }
}

TEST(StatusJson, NoMemberThatMayBeAbsentIsForgottenHere) {
  const GuardStatus none = none_known();
  std::set<std::string> nulls;
  const auto flat = to_json(none).flatten();
  for (const auto& [pointer, value] : flat.items())
    if (value.is_null()) nulls.insert(pointer);
  // No numbers, one that follows from others, an object and a list that are empty.
  for (const char* other : {"/last_error", "/handle", "/failover", "/verification", "/traffic/ratio",
                            "/options/bridges", "/options/disks"})
    nulls.erase(other);
  std::set<std::string> tested;
  for (const auto& one : optionals()) tested.insert(one.pointer);
  EXPECT_EQ(nulls, tested);
}

TEST(StatusJson, TheRatioIsKnownWhenBothSidesOfItAre) {
  GuardStatus s;
  EXPECT_FALSE(s.traffic.ratio().has_value());
  s.traffic.wire_bytes = 10;
  EXPECT_FALSE(s.traffic.ratio().has_value()) << "a backup";
  s.traffic.raw_bytes = 0;
  EXPECT_FALSE(s.traffic.ratio().has_value());
  s.traffic.raw_bytes = 40;
  EXPECT_DOUBLE_EQ(s.traffic.ratio().value(), 0.25);
}

TEST(StatusJson, AnotherVersionsStatusIsReadAsFarAsItGoes) {
  auto written = to_json(sample());
  written["news"] = 1;
  written["generation"] = "three";
  written["pause"] = nullptr;
  written["disks"][0]["mode"] = "another";
  written["disks"].push_back(7);
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
  EXPECT_EQ(event_from_json(to_json(event)).value().sequence, 3U)
      << "without it the daemon takes none for new";
  const VerifyReport without{3, 4, 100, 1, {{"pc.ram", 7}}, 55};
  EXPECT_EQ(to_json(verify_report_from_json(to_json(without)).value()), to_json(without));
  EXPECT_TRUE(to_json(without)["blocks_compared"].is_null()) << "nobody asked";
  const VerifyReport report{4, 4, 100, 1, {{"pc.ram", 7}}, 55, 20, 1, {{"vda", 65536}}};
  EXPECT_EQ(to_json(verify_report_from_json(to_json(report)).value()), to_json(report));
  GuardStatus verifying;
  verifying.guest = "web1";
  verifying.verification = {.done_bytes = 4096, .total_bytes = 8192};
  EXPECT_EQ(to_json(status_from_json(to_json(verifying)).value()), to_json(verifying));
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
