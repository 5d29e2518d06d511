#include "cli/render.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guard/api.hpp"

namespace remus::cli {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const Style plain{false};

json guest(bool is_protected, const char* text) {
  guard::GuardStatus s;
  s.guest = "web1";
  s.epoch = {102, 100, 0, 12, 5000, 24.5};
  s.pause = {850, 2100, 900, 4000, 0.021};
  s.traffic = {130, 120, 64ULL << 20, 16ULL << 20};
  s.output = {3, 4096, 1000, 1 << 20, 2};
  s.link = {"up", "10.0.0.2:7601", 150, 61'000};
  s.memory_overhead_bytes = 96ULL << 20;
  s.pid = 11;
  s.guest_pid = 9;
  return {{"name", "web1"},
          {"role", "primary"},
          {"peer", "hostB"},
          {"state", is_protected ? "protected" : "unprotected"},
          {"protected", is_protected},
          {"text", text},
          {"generation", 3},
          {"qmp", "/run/web1.qmp"},
          {"last_error", nullptr},
          {"guard", guard::to_json(s)}};
}

TEST(Render, TheTableNamesGuestsAndTheirStateInWords) {
  const auto text = render_status(json::array({guest(true, "protected")}), plain);
  EXPECT_THAT(text, AllOf(HasSubstr("GUEST"), HasSubstr("web1"), HasSubstr("850 us"), HasSubstr("2.1 ms"),
                          HasSubstr("12 ms ago"), HasSubstr("protected\n")));
  EXPECT_THAT(render_status(json::array(), plain), HasSubstr("remus protect"));
}

TEST(Render, OneGuestShowsAllThatIsAskedFor) {
  const auto text = render_guest(guest(true, "protected"), plain);
  for (const char* part :
       {"role", "generation", "committed 100", "last commit 12 ms ago", "p50 850 us", "p99 2.1 ms",
        "130 in the last epoch", "64.0 MiB dirty, 16.0 MiB sent (25.0 %)", "3 packets, 4.0 KiB", "2 dropped",
        "2.1 % of the time paused", "up 10.0.0.2:7601 for 61 s", "fail-stop", "both may run the guest",
        "/run/web1.qmp", "96.0 MiB"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST(Render, EachDiskHasALineWithWhatIsKnownOfIt) {
  auto view = guest(true, "protected");
  EXPECT_THAT(render_guest(view, plain), Not(HasSubstr("disk ")));
  guard::GuardStatus s;
  s.disks = {{.name = "vda",
              .state = "replicated",
              .bytes = 20ULL << 30,
              .log_bytes = 64U << 10,
              .writes = 950,
              .written_bytes = 3U << 20,
              .resync_bytes = 4U << 20},
             {.name = "vdb",
              .state = "copying",
              .bytes = 1ULL << 30,
              .compared_bytes = 43,
              .copied_bytes = 7,
              .total_bytes = 100},
             {.name = "a-disk-with-a-long-name", .mode = guard::DiskMode::shared, .state = "shared"}};
  view["guard"] = guard::to_json(s);
  const auto text = render_guest(view, plain);
  EXPECT_THAT(text,
              HasSubstr("disk vda          20.0 GiB, replicated; 950 writes, 3.0 MiB; 64.0 KiB in the log; "
                        "4.0 MiB to compare if the backup is lost\n"));
  EXPECT_THAT(text, AllOf(HasSubstr("disk vdb          1.0 GiB, copying ["),
                          HasSubstr("43 % of 100 B, 7 B differed\n")));
  EXPECT_THAT(text, HasSubstr("disk a-disk-with-a-long-name shared\n"));

  TopView top;
  const json host{{"host", "hostA"}, {"version", "1"}};
  EXPECT_THAT(top.render(host, json::array({view}), 0, 0, plain),
              AllOf(HasSubstr("DISKLOG"), HasSubstr("64.0 KiB")));
}

TEST(Render, TheArbiterIsNamedOnce) {
  const auto text = render_guest(guest(true, "protected"), plain);
  EXPECT_THAT(text, HasSubstr("arbiter           fail-stop: if every path"));
  EXPECT_EQ(text.find("fail-stop", text.find("fail-stop") + 1), std::string::npos) << text;
  EXPECT_EQ(text_of_arbiter({{"kind", "manual"}, {"warning", ""}}, plain), "manual");
}

TEST(Render, WhatTheBackupCannotKnowIsNoNumber) {
  auto view = guest(false, "standing by for hostA");
  view["role"] = "backup";
  guard::GuardStatus s;
  s.side = guard::Side::backup;
  s.epoch.committed = 7;
  s.link = {"up", "10.0.0.1:40000", std::nullopt, 61'000};
  s.pid = 11;
  view["guard"] = guard::to_json(s);
  const auto text = render_guest(view, plain);
  EXPECT_THAT(text, AllOf(HasSubstr("held 7, in the image -"), HasSubstr("guard 11, keeper -, guest -"),
                          HasSubstr("up 10.0.0.1:40000 for 61 s\n")));
  EXPECT_THAT(text, AllOf(Not(HasSubstr("pause")), Not(HasSubstr("round trip")), Not(HasSubstr("output"))));
  EXPECT_THAT(render_status(json::array({view}), plain), AllOf(HasSubstr(" 7 "), Not(HasSubstr(" us"))));
}

TEST(Render, APrimaryBeforeItsFirstCheckpointClaimsNoNumbers) {
  auto view = guest(false, "synchronizing 3 %");
  guard::GuardStatus s;
  view["guard"] = guard::to_json(s);
  const auto text = render_guest(view, plain);
  EXPECT_THAT(text, AllOf(HasSubstr("captured -, committed -, last commit -"), Not(HasSubstr("0 us")),
                          Not(HasSubstr("0 packets"))));
  TopView top;
  EXPECT_THAT(top.render({{"host", "hostA"}, {"version", "1"}}, json::array({view}), 0, 0, plain),
              AllOf(Not(HasSubstr("0 us")), Not(HasSubstr("0 B"))));
}

TEST(Render, OldNumbersAreSaidToBeOld) {
  auto view = guest(true, "protected");
  view["status_age_ms"] = 3U;
  EXPECT_THAT(render_guest(view, plain), Not(HasSubstr("as of")));
  view["status_age_ms"] = 1300U;
  EXPECT_THAT(render_guest(view, plain), AllOf(HasSubstr("  as of "), HasSubstr("1 s ago")));
}

TEST(Render, SynchronizationHasABar) {
  auto view = guest(false, "synchronizing 43 %");
  view["guard"]["sync"] = {{"done_bytes", 43}, {"total_bytes", 100}, {"eta_s", 2.0}};
  EXPECT_THAT(render_guest(view, plain), AllOf(HasSubstr("43 %"), HasSubstr("2 s to go")));
}

TEST(Render, ErrorsComeWithTheirFix) {
  auto view = guest(false, "UNPROTECTED: x");
  view["last_error"] = {{"what", "hostB does not answer"}, {"fix", "wake it"}};
  EXPECT_THAT(render_guest(view, plain), AllOf(HasSubstr("hostB does not answer"), HasSubstr("wake it")));
}

TEST(Render, OnlyWhatIsProtectedIsGreen) {
  const Style colours{true};
  EXPECT_THAT(painted_state(guest(true, "protected"), colours), HasSubstr("\x1b[32m"));
  EXPECT_THAT(painted_state(guest(false, "UNPROTECTED"), colours), HasSubstr("\x1b[1;31m"));
}

TEST(Render, AGuestNobodyHasHeardFromIsNotANumber) {
  auto view = guest(false, "UNPROTECTED: its guard is not running");
  view["guard"] = nullptr;
  EXPECT_THAT(render_status(json::array({view}), plain), Not(HasSubstr("0 us")));
  EXPECT_THAT(render_guest(view, plain), HasSubstr("not running"));
  TopView top;
  EXPECT_THAT(top.render({{"host", "hostA"}, {"version", "1"}}, json::array({view}), 0, 0, plain),
              HasSubstr("1 guests, 0 safe"));
}

TEST(Render, TopRemembersPausesAndFitsTheTerminal) {
  TopView top;
  const json host{{"host", "hostA"}, {"version", "1"}};
  for (int i = 0; i < 50; ++i) {
    auto view = guest(true, "protected");
    view["guard"]["pause"]["last_us"] = 100 * (i % 8);
    const auto text = top.render(host, json::array({view, view, view}), 80, 6, plain);
    std::size_t rows = 0;
    for (std::size_t at = 0; at < text.size(); ++rows) {
      const auto end = text.find('\n', at);
      EXPECT_LE(shown_width(text.substr(at, end - at)), 80U);
      at = end + 1;
    }
    EXPECT_LE(rows, 6U);
    EXPECT_THAT(text, HasSubstr("and 1 more"));
  }
}

TEST(Render, Verification) {
  guard::VerifyReport report{7, 7, 1000, 0, {}, 20};
  EXPECT_THAT(render_verify("web1", guard::to_json(report), plain),
              HasSubstr("1000 pages compared at epoch 7 in"));
  report.first_epoch = 5;
  EXPECT_THAT(render_verify("web1", guard::to_json(report), plain),
              HasSubstr("1000 pages compared at epochs 5 to 7 in"));
  report.pages_different = 5;
  report.different = {{"pc.ram", 17}};
  EXPECT_THAT(render_verify("web1", guard::to_json(report), plain),
              AllOf(HasSubstr("5 pages DIFFER"), HasSubstr("pc.ram page 17"), HasSubstr("and 4 more")));
  report.blocks_compared = 300;
  report.blocks_different = 2;
  report.different_blocks = {{"vda", 65536}};
  EXPECT_THAT(render_verify("web1", guard::to_json(report), plain),
              AllOf(HasSubstr("1000 pages and 300 blocks of disks compared"),
                    HasSubstr("5 pages and 2 blocks DIFFER"), HasSubstr("disk vda at byte 65536"),
                    HasSubstr("and 5 more")));
  report = {7, 7, 1000, 0, {}, 20, 300, 1, {{"vda", 0}}};
  EXPECT_THAT(render_verify("web1", guard::to_json(report), plain),
              AllOf(HasSubstr(": 1 blocks DIFFER"), HasSubstr("not to be trusted")));
  report = {7, 7, 1000, 0, {}, 20, 300, 0, {}};
  EXPECT_THAT(
      render_verify("web1", guard::to_json(report), plain),
      HasSubstr(
          "300 blocks of disks compared at epoch 7 in 20 ms: the backup's memory and disks are the guest's"));
  auto partly = guard::to_json(report);
  partly["bytes_left_out"] = 8192U;
  EXPECT_THAT(render_verify("web1", partly, plain),
              AllOf(HasSubstr("no difference in what was compared\n  8.0 KiB of disks left out"),
                    Not(HasSubstr("disks are the guest's"))));
}

TEST(Render, DoctorPeersHostCertificateEvent) {
  const json doctor{{"healthy", false},
                    {"checks",
                     {{{"name", "kvm"}, {"verdict", "warn"}, {"text", "no"}, {"fix", "do this"}},
                      {{"name", "qemu"}, {"verdict", "fail"}, {"text", "old"}, {"fix", ""}}}}};
  EXPECT_THAT(render_doctor(doctor, plain),
              AllOf(HasSubstr("WARN  kvm   no\n"), HasSubstr("→ do this"), HasSubstr("FAIL  qemu")));
  const json peers{{{"name", "hostB"},
                    {"reachable", false},
                    {"address", ""},
                    {"hello", nullptr},
                    {"error", {{"what", "silent"}}}}};
  EXPECT_THAT(render_peers(peers, plain), HasSubstr("silent"));
  EXPECT_THAT(render_host({{"host", "hostA"}, {"peers", json::array()}}), HasSubstr("hostA"));
  link::CertificateInfo certificate;
  certificate.days_left = -1;
  certificate.not_after = "2020-01-01";
  EXPECT_THAT(render_certificate(certificate), HasSubstr("EXPIRED on 2020-01-01"));
  EXPECT_THAT(
      render_event(
          {{"time", "T"}, {"guest", "web1"}, {"side", "primary"}, {"kind", "state"}, {"text", "words"}},
          plain),
      HasSubstr("words"));
}

}  // namespace
}  // namespace remus::cli
