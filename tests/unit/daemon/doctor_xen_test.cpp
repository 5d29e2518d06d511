#include "daemon/doctor_xen.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace remus::daemon::doctor {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr std::uint64_t gib = 1ULL << 30;

XenHost healthy_xen() {
  return {.facts = hypervisor::xen::XenFacts{"4.17", true, true, 4 * gib},
          .missing_modules = {},
          .standby_program = true};
}

const Check& check_named(const std::vector<Check>& checks, const std::string& name) {
  for (const auto& check : checks)
    if (check.name == name) return check;
  ADD_FAILURE() << "no check " << name;
  return checks.front();
}

json xen_peer(const json& xen) {
  return json::array({{{"name", "hostB"}, {"reachable", true}, {"hello", {{"xen", xen}}}}});
}

TEST(DoctorXen, AHealthyHost) {
  for (const auto& check : judge_xen(healthy_xen()))
    EXPECT_EQ(check.verdict, Verdict::ok) << check.name << ": " << check.text;
}

TEST(DoctorXen, WhatIsMissingIsNamedWithWhatToDo) {
  auto host = healthy_xen();
  host.facts->version = "4.14";
  host.facts->shadow = false;
  host.facts->free_bytes = 1 << 20;
  host.missing_modules = {"ifb", "sch_plug"};
  host.standby_program = false;
  const auto checks = judge_xen(host);
  for (const auto& check : checks) {
    EXPECT_NE(check.verdict, Verdict::ok) << check.name;
    EXPECT_FALSE(check.fix.empty()) << check.name;
  }
  EXPECT_THAT(check_named(checks, "xen-shadow").text, HasSubstr("PV guests"));
  EXPECT_THAT(check_named(checks, "xen-output").text, HasSubstr("ifb sch_plug"));
}

TEST(DoctorXen, AHypervisorThatCannotBeAsked) {
  auto host = healthy_xen();
  host.facts = fail(Errc::denied, "the hypervisor cannot be asked", "run as root");
  const auto checks = judge_xen(host);
  ASSERT_EQ(checks.size(), 1U);
  EXPECT_EQ(checks[0].verdict, Verdict::fail);
}

TEST(DoctorXen, PeersAreMeasuredByVersionAndRoom) {
  const auto judge = [](const std::string& ours, const json& xen, const json& guests = json::array()) {
    return judge_xen_peers(ours, xen_peer(xen), guests).at(0).verdict;
  };
  EXPECT_EQ(judge("4.17", {{"version", "4.17"}, {"free_bytes", gib}}), Verdict::ok);
  EXPECT_EQ(judge("4.17", {{"version", "4.16"}, {"free_bytes", gib}}), Verdict::fail);
  EXPECT_EQ(judge("4.9", {{"version", "4.17"}, {"free_bytes", gib}}), Verdict::warn)
      << "the way back is barred";
  EXPECT_EQ(judge("4.17", nullptr), Verdict::warn) << "no Xen there";
  json guest{{"role", "primary"},
             {"hypervisor", "xen"},
             {"peer", "hostB"},
             {"memory_bytes", 2 * gib},
             {"protected", false}};
  EXPECT_EQ(judge("4.17", {{"version", "4.17"}, {"free_bytes", gib}}, json::array({guest})), Verdict::fail);
  guest["protected"] = true;
  EXPECT_EQ(judge("4.17", {{"version", "4.17"}, {"free_bytes", gib}}, json::array({guest})), Verdict::ok);
}

TEST(DoctorXen, VersionsAreNumbers) {
  EXPECT_TRUE(older("4.9", "4.17"));
  EXPECT_FALSE(older("4.17", "4.17"));
  EXPECT_FALSE(older("5.0", "4.17"));
  EXPECT_TRUE(older("", "4.17"));
}

TEST(DoctorXen, NoKernelHasWhatDoesNotExist) {
  EXPECT_LE(missing_modules("no-such-kernel").size(), xen_modules().size());
}

}  // namespace
}  // namespace remus::daemon::doctor
