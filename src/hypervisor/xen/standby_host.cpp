#include "hypervisor/xen/standby_host.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/json.hpp"
#include "hypervisor/xen/restore_process.hpp"
#include "hypervisor/xen/xen_headers.hpp"

namespace remus::hypervisor::xen {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

namespace {

constexpr const char* program_name = "remus-xen-standby";
constexpr auto check_within = milliseconds{30'000};
constexpr auto destroy_within = milliseconds{60'000};
constexpr auto process_ends_within = milliseconds{30'000};
constexpr auto look_again = milliseconds{20};

constexpr unsigned domains_at_once = 64;

using XenControl = std::unique_ptr<xc_interface, decltype(&xc_interface_close)>;

Result<XenControl> open_control() {
  XenControl control{xc_interface_open(nullptr, nullptr, 0), &xc_interface_close};
  if (!control) return fail_errno(errno, "cannot reach Xen", "run as root in dom0");
  return control;
}

std::string uuid_text(const xen_domain_handle_t& handle) {
  std::string out;
  for (std::size_t i = 0; i < sizeof handle; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += fmt::format("{:02x}", handle[i]);
  }
  return out;
}

/// Whether this host's Xen runs 32-bit paravirtual guests: it may be built or started without.
Result<bool> runs_narrow_pv() {
  auto control = open_control();
  if (!control) return std::unexpected(control.error());
  xen_capabilities_info_t words{};
  if (xc_version(control->get(), XENVER_capabilities, &words) != 0)
    return fail_errno(errno, "cannot ask Xen which guests it runs");
  return std::string_view{words}.find("xen-3.0-x86_32p") != std::string_view::npos;
}

/// What `check` printed last: libxl's own words may stand before it.
nlohmann::json last_line(const std::string& text) {
  const auto begin = text.rfind("{\"major\"");
  return begin == std::string::npos ? nlohmann::json{} : parse_json(text.substr(begin));
}

}  // namespace

StandbyPlaces places_of(const XenStandbyOptions& options) {
  const fs::path directory = options.runtime_dir / options.name;
  return {directory, directory / "standby.json", directory / "domain.json", directory / "restore.log"};
}

Result<fs::path> restorer_program(const XenStandbyOptions& options) {
  std::error_code code;
  fs::path program = options.program;
  if (program.empty()) program = fs::read_symlink("/proc/self/exe", code).parent_path() / program_name;
  if (::access(program.c_str(), X_OK) != 0)
    return fail(Errc::not_found, fmt::format("{} is not there", program.native()),
                "install Remus whole, with its Xen part");
  return program;
}

Status check_host(const fs::path& program, const StandbyPlaces& places, const std::string& name,
                  const StandbyFacts& facts, const nlohmann::json& config) {
  HostNeeds needs = host_needs(config);
  for (const auto& note : needs.notes) spdlog::warn("standby of {}: {}", name, note);
  if (!needs.missing.empty())
    return fail(Errc::incompatible, fmt::format("this host lacks {}", fmt::join(needs.missing, ", ")),
                "make them here under the same names; bridges can be renamed by the option bridges");
  if (facts.pv && facts.pv_width_bytes == 4) {
    auto runs = runs_narrow_pv();
    if (!runs) return std::unexpected(runs.error());
    if (!*runs)
      return fail(
          Errc::incompatible,
          "it is a 32-bit paravirtual guest, and this host's Xen runs none (`xl info`: xen_caps has no "
          "xen-3.0-x86_32p)",
          "use a Xen built with CONFIG_PV32=y here, and not started with pv=no-32");
  }
  auto text = run_program(program, {"check", places.config.native(), name}, check_within);
  if (!text) return std::unexpected(text.error());
  const nlohmann::json answer = last_line(*text);
  try {
    const XenVersion here{answer.at("major").get<std::uint32_t>(), answer.at("minor").get<std::uint32_t>()};
    if (here < facts.version)
      return fail(
          Errc::incompatible,
          fmt::format("the primary runs Xen {}.{}, this host Xen {}.{}: guests go to the same or a newer one",
                      facts.version.major, facts.version.minor, here.major, here.minor));
    if (!answer.at("domid").is_null())
      return fail(Errc::exists,
                  fmt::format("this host has a domain '{}' (number {})", name, answer.at("domid").dump()),
                  "end it or rename it: it would share the guest's name");
    if (!answer.at("incoming").is_null())
      return fail(Errc::exists,
                  fmt::format("this host has a domain '{}{}' (number {}) that is not ours", name,
                              incoming_suffix, answer.at("incoming").dump()),
                  "wait for that migration, or end what it left by xl destroy");
    const auto free_kib = answer.at("free_kib").get<std::uint64_t>();
    const auto need_kib = answer.at("need_kib").get<std::uint64_t>();
    if (free_kib < need_kib)
      return fail(Errc::exhausted,
                  fmt::format("the guest needs {} MiB of this host's memory, {} MiB are free",
                              need_kib >> 10U, free_kib >> 10U),
                  "give dom0 less (xl mem-set 0), or end other domains");
  } catch (const nlohmann::json::exception&) {
    return fail(Errc::io, fmt::format("libxl does not tell what this host has: {}", text->substr(0, 400)));
  }
  return {};
}

Result<std::optional<FoundDomain>> look_at_domain(std::uint32_t domid) {
  auto control = open_control();
  if (!control) return std::unexpected(control.error());
  xc_dominfo_t info{};
  const int found = xc_domain_getinfo(control->get(), domid, 1, &info);
  if (found < 0 && errno != ESRCH)
    return fail_errno(errno, fmt::format("cannot ask Xen for domain {}", domid));
  if (found != 1 || info.domid != domid || info.dying != 0) return std::nullopt;
  return FoundDomain{info.paused != 0, uuid_text(info.handle)};
}

Result<std::uint32_t> domain_with(const std::string& uuid) {
  auto control = open_control();
  if (!control) return std::unexpected(control.error());
  std::vector<xc_dominfo_t> infos(domains_at_once);
  for (std::uint32_t next = 1;;) {
    const int found = xc_domain_getinfo(control->get(), next, domains_at_once, infos.data());
    if (found < 0 && errno != ESRCH) return fail_errno(errno, "cannot ask Xen for its domains");
    if (found <= 0) return 0;
    for (const auto& info : std::span{infos}.first(static_cast<std::size_t>(found))) {
      if (info.dying == 0 && uuid_text(info.handle) == uuid) return info.domid;
      next = info.domid + 1;
    }
  }
}

Status give_back(const fs::path& program, const StandbyRecord& record, const StandbyPlaces& places) {
  Status result{};
  const auto note = [&](Status status) {
    if (!status && result) result = std::move(status);
  };
  // Its stream is cut, so libxl is destroying the domain and the process is about to end.
  if (auto process = ChildProcess::adopt(record.pid, record.start_time)) {
    const auto deadline = std::chrono::steady_clock::now() + process_ends_within;
    while (process->running() && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(look_again);
    note(process->kill());
  }
  // By its identity: its number may not have been recorded yet, or be another's by now.
  if (!record.uuid.empty()) {
    auto left = domain_with(record.uuid);
    if (!left) note(std::unexpected(left.error()));
    if (const std::uint32_t domid = left.value_or(0); domid != 0) {
      auto gone = run_program(program, {"destroy", fmt::format("{}", domid)}, destroy_within);
      if (!gone) note(std::unexpected(gone.error().in(fmt::format("destroying domain {}", domid))));
    }
  }
  std::error_code code;
  for (const auto& file : {places.config, places.log}) fs::remove(file, code);
  // The record last: while it is there, whatever is left can still be found.
  if (result) fs::remove(places.record, code);
  fs::remove(places.directory, code);  // stays if others keep files in it
  return result;
}

}  // namespace remus::hypervisor::xen
