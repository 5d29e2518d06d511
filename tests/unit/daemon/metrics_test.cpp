#include "daemon/metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guard/api.hpp"

namespace remus::daemon {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Metrics, GaugesInBaseUnitsWithLabels) {
  guard::GuardStatus status;
  status.pause.p50_us = 1500;
  status.epoch.age_of_last_commit_ms = 250;
  status.disks = {{.name = "vd\"a", .state = "replicated", .log_bytes = 4096, .writes = 7}};
  const nlohmann::json guests{{{"name", "web1"},
                               {"role", "primary"},
                               {"peer", "hostB"},
                               {"state", "protected"},
                               {"protected", true},
                               {"generation", 3},
                               {"guard_running", true},
                               {"status_age_ms", 100},
                               {"guard", guard::to_json(status)}}};
  const auto text = metrics_text(guests);
  EXPECT_THAT(text, HasSubstr("# TYPE remus_guest_protected gauge\n"));
  EXPECT_THAT(text, HasSubstr("remus_guest_protected{guest=\"web1\",role=\"primary\",peer=\"hostB\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("remus_pause_p50_seconds{guest=\"web1\",role=\"primary\",peer=\"hostB\"} 0.0015\n"));
  EXPECT_THAT(
      text,
      HasSubstr("remus_last_commit_age_seconds{guest=\"web1\",role=\"primary\",peer=\"hostB\"} 0.25\n"));
  EXPECT_THAT(text, HasSubstr("state=\"protected\"} 1\n"));
  const std::string disk = R"({guest="web1",role="primary",peer="hostB",disk="vd\"a")";
  EXPECT_THAT(text, HasSubstr("remus_disk_log_bytes" + disk + "} 4096\n"));
  EXPECT_THAT(text,
              HasSubstr("# TYPE remus_disk_writes_total counter\nremus_disk_writes_total" + disk + "} 7\n"));
  EXPECT_THAT(text, HasSubstr("remus_disk_state" + disk + ",state=\"replicated\"} 1\n"));
  for (const char* unknown :
       {"remus_epoch_committed{", "remus_pause_p99_seconds{", "remus_link_rtt_seconds{",
        "remus_raw_bytes_total{", "remus_output_held_packets{", "remus_disk_copied_bytes{"})
    EXPECT_THAT(text, Not(HasSubstr(unknown))) << "what this side does not know is no sample";
}

TEST(Metrics, WhatIsNotKnownIsLeftOut) {
  const nlohmann::json guests{{{"name", "a\"b\\"},
                               {"role", "owner"},
                               {"peer", ""},
                               {"state", "gone"},
                               {"protected", false},
                               {"guard", nullptr}}};
  const auto text = metrics_text(guests);
  EXPECT_THAT(text, HasSubstr("remus_guest_protected{guest=\"a\\\"b\\\\\""));
  EXPECT_THAT(text, Not(HasSubstr("remus_pause_p50_seconds{")));
}

}  // namespace
}  // namespace remus::daemon
