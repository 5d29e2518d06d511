#include "daemon/doctor_xen.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <utility>

#include "daemon/json_fields.hpp"

namespace remus::daemon::doctor {
namespace {

constexpr std::uint64_t mib = 1ULL << 20;
constexpr std::uint64_t free_enough = 512 * mib;

std::pair<unsigned, unsigned> numbers(const std::string& version) {
  std::pair<unsigned, unsigned> out{};
  const char* const end = version.data() + version.size();
  const auto major = std::from_chars(version.data(), end, out.first);
  if (major.ec == std::errc{} && major.ptr != end && *major.ptr == '.')
    std::from_chars(major.ptr + 1, end, out.second);
  return out;
}

/// Whether a list of modules (modules.dep, modules.builtin) names this one: ".../sch_plug.ko", perhaps compressed.
bool lists(const std::filesystem::path& file, const std::string& module) {
  std::ifstream in{file};
  const std::string wanted = "/" + module + ".ko";
  for (std::string line; std::getline(in, line);)
    if (line.substr(0, line.find(':')).find(wanted) != std::string::npos) return true;
  return false;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::uint64_t to_come(const nlohmann::json& guests, const std::string& peer) {
  std::uint64_t bytes = 0;
  for (const auto& guest : guests)
    if (text_at(guest, "role") == "primary" && text_at(guest, "hypervisor") == "xen" &&
        text_at(guest, "peer") == peer && !guest.value("protected", false))
      bytes += number_at(guest, "memory_bytes");
  return bytes;
}

}  // namespace

const std::vector<std::string>& xen_modules() {
  static const std::vector<std::string> modules{"ifb", "sch_plug", "sch_ingress", "cls_matchall",
                                                "act_mirred"};
  return modules;
}

std::vector<std::string> missing_modules(const std::string& kernel_release) {
  const std::filesystem::path tree = std::filesystem::path{"/lib/modules"} / kernel_release;
  std::vector<std::string> missing;
  std::error_code error;
  for (const auto& module : xen_modules())
    if (!std::filesystem::exists("/sys/module/" + module, error) && !lists(tree / "modules.dep", module) &&
        !lists(tree / "modules.builtin", module))
      missing.push_back(module);
  return missing;
}

bool older(const std::string& version, const std::string& than) {
  return numbers(version) < numbers(than);
}

std::vector<Check> judge_xen(const XenHost& host) {
  std::vector<Check> out;
  if (!host.facts) {
    out.push_back({"xen", Verdict::fail, host.facts.error().what, host.facts.error().fix});
    return out;
  }
  const auto& facts = *host.facts;
  out.push_back(
      older(facts.version, "4.17")
          ? Check{"xen", Verdict::fail, fmt::format("Xen {} is too old", facts.version),
                  "Remus needs Xen 4.17 or later"}
          : Check{"xen",
                  Verdict::ok,
                  fmt::format("Xen {}, {}", facts.version, facts.hvm ? "PV, PVH and HVM" : "PV only"),
                  {}});
  out.push_back(facts.shadow ? Check{"xen-shadow", Verdict::ok, "shadow paging is built in", {}}
                             : Check{"xen-shadow", Verdict::warn,
                                     "this hypervisor has no shadow paging: PV guests cannot be protected "
                                     "(PVH and HVM with HAP can)",
                                     "use PVH guests, or a Xen built with CONFIG_SHADOW_PAGING"});
  out.push_back(facts.free_bytes >= free_enough
                    ? Check{"xen-memory",
                            Verdict::ok,
                            fmt::format("{} MiB free for domains", facts.free_bytes / mib),
                            {}}
                    : Check{"xen-memory", Verdict::warn,
                            fmt::format("{} MiB free for domains", facts.free_bytes / mib),
                            "a standby takes as much as its guest: lower dom0_mem, or move guests"});
  out.push_back(host.missing_modules.empty()
                    ? Check{"xen-output", Verdict::ok, "the kernel can hold guests' output", {}}
                    : Check{"xen-output", Verdict::fail,
                            fmt::format("this kernel lacks modules that hold guests' output: {}",
                                        joined(host.missing_modules)),
                            "use a kernel that has them (Debian's linux-image-amd64 does)"});
  if (!host.standby_program)
    out.push_back({"xen-standby", Verdict::fail, "remus-xen-standby is not beside remus-guard",
                   "install the package whole"});
  return out;
}

std::vector<Check> judge_xen_peers(const std::string& our_version, const nlohmann::json& peers,
                                   const nlohmann::json& guests) {
  std::vector<Check> out;
  for (const auto& peer : peers) {
    if (!peer.value("reachable", false) || !peer.contains("hello")) continue;
    const auto name = text_at(peer, "name");
    const auto& hello = peer["hello"];
    const auto check = fmt::format("xen on {}", name);
    if (!hello.is_object() || !hello.contains("xen") || !hello["xen"].is_object()) {
      out.push_back({check, Verdict::warn,
                     fmt::format("{} does not run Xen (or a Remus that does not know it)", name),
                     "Xen guests can only be protected to a host that runs Xen"});
      continue;
    }
    const auto theirs = text_at(hello["xen"], "version");
    const auto free = number_at(hello["xen"], "free_bytes");
    const auto wanted = to_come(guests, name);
    if (older(theirs, our_version))
      out.push_back(
          {check, Verdict::fail,
           fmt::format("Xen {} there, {} here: a guest cannot go to an older Xen", theirs, our_version),
           fmt::format("bring {} to Xen {}", name, our_version)});
    else if (older(our_version, theirs))
      out.push_back({check, Verdict::warn,
                     fmt::format("Xen {} there, {} here: a guest that went there cannot come back", theirs,
                                 our_version),
                     "bring both hosts to the same version"});
    else if (free < wanted)
      out.push_back({check, Verdict::fail,
                     fmt::format("{} MiB free for domains, {} MiB still to come", free / mib, wanted / mib),
                     fmt::format("make room on {}: a standby takes as much as its guest", name)});
    else
      out.push_back(
          {check, Verdict::ok, fmt::format("Xen {}, {} MiB free for domains", theirs, free / mib), {}});
  }
  return out;
}

}  // namespace remus::daemon::doctor
