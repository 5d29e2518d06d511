#include "hypervisor/qemu/standby_host.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>

#include "hypervisor/child_process.hpp"
#include "hypervisor/qemu/tap.hpp"

namespace remus::hypervisor::qemu {

namespace fs = std::filesystem;

namespace {

constexpr auto version_timeout = std::chrono::milliseconds{10'000};
constexpr std::size_t log_tail_bytes = 600;

/// FNV-1a: short, stable between versions and hosts.
std::uint32_t name_hash(std::string_view text) noexcept {
  std::uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<std::uint8_t>(c)) * 16777619U;
  return hash;
}

/// "QEMU emulator version 7.2.22 (Debian ...)"
std::optional<Version> parse_version(std::string_view text) {
  constexpr std::string_view mark = "version ";
  const auto place = text.find(mark);
  if (place == std::string_view::npos) return std::nullopt;
  const char* at = text.data() + place + mark.size();
  const char* const end = text.data() + text.size();
  Version out;
  for (int* part : {&out.major, &out.minor, &out.micro}) {
    const auto [next, code] = std::from_chars(at, end, *part);
    if (code != std::errc{}) return std::nullopt;
    at = next;
    if (part == &out.micro) break;
    if (at == end || *at != '.') return std::nullopt;
    ++at;
  }
  return out;
}

}  // namespace

StandbyPlaces places_of(const StandbyOptions& options) {
  const fs::path runtime = options.runtime_dir / options.name;
  return {runtime, options.image_root / options.name, runtime / "qmp.sock", runtime / "standby.json",
          runtime / "qemu.log"};
}

std::string tap_name_for(const StandbyOptions& options, const std::string& netdev) {
  if (const auto chosen = options.taps.find(netdev); chosen != options.taps.end()) return chosen->second;
  return fmt::format("rm{:08x}{:04x}", name_hash(options.name), name_hash(netdev) & 0xffffU);
}

Result<fs::path> choose_binary(const StandbyOptions& options, const GuestFacts& facts) {
  fs::path binary = options.binary;
  if (binary.empty()) {
    binary = facts.binary;
    if (::access(binary.c_str(), X_OK) != 0)
      binary = find_program(fs::path{facts.binary}.filename().native());
  }
  if (binary.empty() || ::access(binary.c_str(), X_OK) != 0)
    return fail(Errc::not_found,
                fmt::format("this host has no {}", binary.empty() ? facts.binary : binary.native()),
                fmt::format("install QEMU {}", facts.version.text()));
  auto text = run_program(binary, {"--version"}, version_timeout);
  if (!text) return std::unexpected(text.error());
  const auto found = parse_version(*text);
  if (!found) return fail(Errc::incompatible, fmt::format("{} does not look like QEMU", binary.native()));
  const Version& here = *found;
  if (here.triple() != facts.version.triple())
    return fail(Errc::incompatible,
                fmt::format("the primary runs QEMU {}, but {} here is {}", facts.version.text(),
                            binary.native(), here.text()),
                "install the same version of QEMU on both hosts");
  return binary;
}

Status check_files(const std::vector<NeededFile>& files, const nlohmann::json& on_primary) {
  std::vector<std::string> missing;
  for (const NeededFile& file : files) {
    std::error_code code;
    const fs::file_status status = fs::status(file.path, code);
    if (!fs::exists(status)) {
      missing.push_back(fmt::format("{} ({}) is not there", file.path, file.what));
      continue;
    }
    if (!fs::is_regular_file(status) || !on_primary.is_object()) continue;
    const auto known = on_primary.find(file.path);
    if (known == on_primary.end() || !known->is_number_integer()) continue;
    const std::uint64_t bytes = fs::file_size(file.path, code);
    if (code || bytes != known->get<std::uint64_t>())
      missing.push_back(fmt::format("{} ({}) has {} bytes here, {} on the primary", file.path, file.what,
                                    bytes, known->get<std::uint64_t>()));
  }
  if (missing.empty()) return {};
  return fail(Errc::incompatible,
              fmt::format("this host cannot start the guest: {}", fmt::join(missing, "; ")),
              "copy these files from the primary to the same places");
}

nlohmann::json describe_files(const std::vector<NeededFile>& files) {
  nlohmann::json out = nlohmann::json::object();
  for (const NeededFile& file : files) {
    std::error_code code;
    if (fs::is_regular_file(file.path, code))
      if (const std::uint64_t bytes = fs::file_size(file.path, code); !code) out[file.path] = bytes;
  }
  return out;
}

Status make_private_directory(const fs::path& directory) {
  std::error_code code;
  fs::create_directories(directory, code);
  if (!code) fs::permissions(directory, fs::perms::owner_all, code);
  if (code) return fail_errno(code.value(), fmt::format("cannot make directory {}", directory.native()));
  return {};
}

Status give_back(const StandbyRecord& record, const StandbyPlaces& places) {
  Status result{};
  const auto note = [&](Status status) {
    if (!status && result) result = status;
  };
  if (auto process = ChildProcess::adopt(record.pid, record.start_time)) note(process->kill());
  for (const auto& tap : record.taps) note(remove_tap(tap));
  std::error_code code;
  if (!record.image_dir.empty()) fs::remove_all(record.image_dir, code);
  if (code) note(fail_errno(code.value(), fmt::format("cannot remove {}", record.image_dir.native())));
  for (const auto& file : {places.qmp, places.log, places.runtime / "vnc.sock"}) fs::remove(file, code);
  // The record last: while it is there, whatever is left can still be found.
  if (result) fs::remove(places.record, code);
  fs::remove(places.runtime, code);  // stays if others keep files in it
  return result;
}

std::string log_tail(const fs::path& log) {
  std::ifstream file{log};
  std::stringstream text;
  text << file.rdbuf();
  std::string all = text.str();
  if (all.size() > log_tail_bytes) all.erase(0, all.size() - log_tail_bytes);
  while (!all.empty() && (all.back() == '\n' || all.back() == '\r')) all.pop_back();
  for (char& c : all)
    if (c == '\n') c = ' ';
  return all;
}

}  // namespace remus::hypervisor::qemu
