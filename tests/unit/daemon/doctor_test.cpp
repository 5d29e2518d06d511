#include "daemon/doctor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>

namespace remus::daemon::doctor {
namespace {

using testing::HasSubstr;

link::CertificateInfo certificate(std::int64_t days) {
  link::CertificateInfo c;
  c.dns_names = {"hostA"};
  c.days_left = days;
  return c;
}

/// A host on which all is well.
Probes healthy() {
  Probes p;
  p.kernel_release = [] { return "6.1.0-18-amd64"; };
  p.kvm = []() -> Status { return {}; };
  p.qemu_version = []() -> Result<std::string> {
    return "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)";
  };
  p.bind = [](const std::string&, std::uint16_t) -> Status { return {}; };
  p.free_bytes = [](const std::filesystem::path&) -> Result<std::uint64_t> { return 8ULL << 30; };
  p.memory_available = [] { return std::uint64_t{8} << 30; };
  p.certificate = [](const std::filesystem::path&) -> Result<link::CertificateInfo> {
    return certificate(400);
  };
  p.identity = [](const std::filesystem::path&) -> Status { return {}; };
  p.open_device = [](const std::filesystem::path&) -> Status { return {}; };
  p.bridges = [] { return std::vector<std::string>{"br0"}; };
  p.clock_synchronized = [] { return true; };
  p.executable = [](const std::filesystem::path&) { return true; };
  return p;
}

Config config() {
  Config c;
  c.host = "hostA";
  c.defaults.arbiter = guard::ArbiterKind::manual;
  return c;
}

Check find(const std::vector<Check>& checks, const std::string& name) {
  const auto found = std::ranges::find(checks, name, &Check::name);
  return found == checks.end() ? Check{"missing", Verdict::fail, {}, {}} : *found;
}

TEST(Doctor, AHealthyHostHasNothingToFix) {
  const auto checks = examine(config(), healthy(), true);
  for (const auto& check : checks) EXPECT_EQ(check.verdict, Verdict::ok) << check.name << ": " << check.text;
  EXPECT_TRUE(to_json(checks)["healthy"].get<bool>());
}

TEST(Doctor, EverythingThatIsNotOkSaysWhatToDo) {
  auto p = healthy();
  const auto broken = [](auto&&...) { return fail(Errc::io, "broken"); };
  p.kernel_release = [] { return "4.19.0"; };
  p.kvm = broken;
  p.qemu_version = broken;
  p.bind = broken;
  p.free_bytes = [](const std::filesystem::path&) -> Result<std::uint64_t> { return 1U; };
  p.memory_available = [] { return std::uint64_t{1}; };
  p.certificate = broken;
  p.open_device = broken;
  p.bridges = [] { return std::vector<std::string>{}; };
  p.clock_synchronized = [] { return false; };
  p.executable = [](const std::filesystem::path&) { return false; };
  auto c = config();
  c.defaults.arbiter = guard::ArbiterKind::fail_stop;
  const auto checks = examine(c, p, false);
  for (const auto& check : checks) {
    if (check.name == "identity" || check.name == "host") continue;
    EXPECT_NE(check.verdict, Verdict::ok) << check.name;
    EXPECT_FALSE(check.text.empty()) << check.name;
    if (check.name != "qemu") {
      EXPECT_FALSE(check.fix.empty()) << check.name;
    }
  }
  EXPECT_FALSE(to_json(checks)["healthy"].get<bool>());
}

TEST(Doctor, QemuVersions) {
  const auto verdict = [](const char* line, bool kvm) { return judge_qemu(std::string{line}, kvm).verdict; };
  EXPECT_EQ(verdict("QEMU emulator version 7.2.22 (Debian 1:7.2)", true), Verdict::ok);
  EXPECT_EQ(verdict("QEMU emulator version 7.2.22", false), Verdict::warn) << "hangs without KVM";
  EXPECT_EQ(verdict("QEMU emulator version 11.1.0", false), Verdict::ok);
  EXPECT_EQ(verdict("QEMU emulator version 10.0.2", true), Verdict::fail) << "COLO is broken there";
  EXPECT_EQ(verdict("QEMU emulator version 6.2.0", true), Verdict::fail);
  EXPECT_EQ(verdict("something else", true), Verdict::fail);
}

TEST(Doctor, Certificates) {
  EXPECT_EQ(judge_certificate(certificate(31), "hostA").verdict, Verdict::ok);
  EXPECT_EQ(judge_certificate(certificate(29), "hostA").verdict, Verdict::warn);
  const auto expired = judge_certificate(certificate(-3), "hostA");
  EXPECT_EQ(expired.verdict, Verdict::fail);
  EXPECT_EQ(expired.text, "expired 3 days ago");
  EXPECT_EQ(judge_certificate(certificate(400), "hostB").verdict, Verdict::fail);
}

TEST(Doctor, TheAuthoritysDaysAreCountedToo) {
  EXPECT_EQ(judge_authority(certificate(400)).verdict, Verdict::ok);
  EXPECT_THAT(judge_authority(certificate(29)).text, HasSubstr("29 more days"));
  EXPECT_EQ(judge_authority(certificate(29)).verdict, Verdict::warn);
  EXPECT_EQ(judge_authority(certificate(-1)).verdict, Verdict::fail);
  EXPECT_FALSE(judge_authority(certificate(-1)).fix.empty());
  EXPECT_NE(find(examine(config(), healthy(), true), "authority").name, "missing");
}

TEST(Doctor, AHostWithoutANameOfItsOwnIsToldSo) {
  auto c = config();
  EXPECT_THAT(find(examine(c, healthy(), true), "host").text, HasSubstr("hostA, remus "));
  c.host = "localhost";
  EXPECT_EQ(find(examine(c, healthy(), true), "host").verdict, Verdict::fail);
}

TEST(Doctor, RoomOnTheBackup) {
  const auto room = [](std::uint64_t memory, std::uint64_t image, const nlohmann::json& guests) {
    const auto now = static_cast<std::uint64_t>(std::time(nullptr));
    const nlohmann::json peers{{{"name", "hostB"},
                                {"reachable", true},
                                {"address", "10.0.0.2:7600"},
                                {"hello",
                                 {{"version", REMUS_VERSION},
                                  {"time_s", now},
                                  {"memory_available_bytes", memory},
                                  {"image_free_bytes", image}}}}};
    std::vector<Check> checks;
    add_peers(checks, peers, guests);
    EXPECT_THAT(find(checks, "peer hostB").text, HasSubstr("its clock differs by "));
    return find(checks, "room on hostB");
  };
  const auto guest = [](const char* peer, bool is_protected) {
    return nlohmann::json{
        {"role", "primary"}, {"peer", peer}, {"protected", is_protected}, {"memory_bytes", 4ULL << 30}};
  };
  constexpr std::uint64_t gib = 1ULL << 30;
  const auto none = nlohmann::json::array();
  EXPECT_EQ(room(8 * gib, 8 * gib, none).verdict, Verdict::ok);
  EXPECT_THAT(room(8 * gib, 8 * gib, none).text, HasSubstr("8192 MiB of memory available, 8192 MiB free"));
  EXPECT_EQ(room(gib / 8, 8 * gib, none).verdict, Verdict::warn);
  EXPECT_EQ(room(8 * gib, gib / 2, none).verdict, Verdict::warn);
  const auto two =
      nlohmann::json::array({guest("hostB", false), guest("hostB", false), guest("hostC", false)});
  EXPECT_EQ(room(8 * gib, 8 * gib, two).verdict, Verdict::ok);
  const auto short_of = room(8 * gib, 7 * gib, two);
  EXPECT_EQ(short_of.verdict, Verdict::fail);
  EXPECT_THAT(short_of.text, HasSubstr("8192 MiB still to come"));
  EXPECT_THAT(short_of.fix, HasSubstr("hostB"));
  EXPECT_EQ(room(8 * gib, 2 * gib, nlohmann::json::array({guest("hostB", true)})).verdict, Verdict::ok)
      << "its image is there already";
}

TEST(Doctor, Kernels) {
  EXPECT_EQ(judge_kernel("6.1.0").verdict, Verdict::ok);
  EXPECT_EQ(judge_kernel("5.4.0").verdict, Verdict::warn);
  EXPECT_EQ(judge_kernel("5.3.18").verdict, Verdict::fail);
  EXPECT_EQ(judge_kernel("odd").verdict, Verdict::warn);
}

TEST(Doctor, PortsInUseByUsAreNoFault) {
  auto p = healthy();
  p.bind = [](const std::string&, std::uint16_t port) -> Status {
    if (port == 7600) return fail(Errc::io, "0.0.0.0:7600: Address already in use");
    return {};
  };
  EXPECT_EQ(find(examine(config(), p, true), "ports").verdict, Verdict::ok);
  EXPECT_EQ(find(examine(config(), p, false), "ports").verdict, Verdict::fail);
  p.bind = [](const std::string&, std::uint16_t port) -> Status {
    if (port > 7602) return fail(Errc::io, "in use");
    return {};
  };
  EXPECT_EQ(find(examine(config(), p, true), "ports").verdict, Verdict::warn);
}

TEST(Doctor, ASinglePathWithFailStopIsWarnedOf) {
  auto c = config();
  c.defaults.arbiter = guard::ArbiterKind::fail_stop;
  c.peers["hostB"] = {"hostB", {{"10.0.0.2", 7600}}};
  const auto check = find(examine(c, healthy(), true), "arbiter");
  EXPECT_EQ(check.verdict, Verdict::warn);
  EXPECT_THAT(check.text, HasSubstr("single path to hostB"));
}

TEST(Doctor, Peers) {
  const auto now = static_cast<std::uint64_t>(std::time(nullptr));
  const auto peer = [&](const char* name, const char* version, std::uint64_t time) {
    return nlohmann::json{{"name", name},
                          {"reachable", true},
                          {"address", "10.0.0.2:7600"},
                          {"hello", {{"version", version}, {"time_s", time}}},
                          {"error", nullptr}};
  };
  auto peers = nlohmann::json::array(
      {peer("good", REMUS_VERSION, now), peer("old", "0.0.1", now), peer("late", REMUS_VERSION, now - 3600)});
  peers.push_back(
      {{"name", "dead"}, {"reachable", false}, {"error", {{"what", "no answer"}, {"fix", "wake it"}}}});
  std::vector<Check> checks;
  add_peers(checks, peers);
  EXPECT_EQ(find(checks, "peer good").verdict, Verdict::ok);
  EXPECT_EQ(find(checks, "peer old").verdict, Verdict::warn);
  EXPECT_EQ(find(checks, "peer late").verdict, Verdict::warn);
  EXPECT_EQ(find(checks, "peer dead").verdict, Verdict::fail);
  checks.clear();
  add_peers(checks, nlohmann::json::array());
  EXPECT_EQ(find(checks, "peers").verdict, Verdict::warn);
}

TEST(Doctor, TheRealProbesLookAtThisHostWithoutHarm) {
  const auto checks = examine(config(), real_probes(), false);
  EXPECT_NE(find(checks, "kernel").name, "missing");
}

}  // namespace
}  // namespace remus::daemon::doctor
