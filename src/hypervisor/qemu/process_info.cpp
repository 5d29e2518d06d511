#include "hypervisor/qemu/process_info.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace remus::hypervisor::qemu {

namespace fs = std::filesystem;

Result<ProcessInfo> read_process(pid_t pid) {
  if (pid <= 0) return fail(Errc::not_found, "its process id is unknown");
  const fs::path place = fmt::format("/proc/{}", pid);
  std::ifstream file{place / "cmdline", std::ios::binary};
  if (!file)
    return fail(Errc::not_found, fmt::format("process {} does not exist or is not ours to see", pid));
  std::stringstream text;
  text << file.rdbuf();
  ProcessInfo info;
  for (std::string word; std::getline(text, word, '\0');) info.argv.push_back(std::move(word));
  std::error_code code;
  info.binary = fs::read_symlink(place / "exe", code).native();
  if (code) return fail_errno(code.value(), fmt::format("cannot read {}", (place / "exe").native()));
  info.directory = fs::read_symlink(place / "cwd", code).native();
  if (code) return fail_errno(code.value(), fmt::format("cannot read {}", (place / "cwd").native()));
  // An upgraded package leaves the running program deleted; the path is still the one to start.
  if (constexpr std::string_view gone = " (deleted)"; info.binary.ends_with(gone))
    info.binary.resize(info.binary.size() - gone.size());
  if (info.argv.empty()) return fail(Errc::not_found, fmt::format("process {} has no command line", pid));
  return info;
}

bool maps_library(pid_t pid, std::string_view name) {
  std::ifstream file{fmt::format("/proc/{}/maps", pid)};
  const std::string wanted = fmt::format("/{}", name);
  for (std::string line; std::getline(file, line);)
    if (line.find(wanted) != std::string::npos) return true;
  return false;
}

std::string tap_name_of_fd(pid_t pid, const std::string& fd) {
  std::ifstream file{fmt::format("/proc/{}/fdinfo/{}", pid, fd)};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("iff:\t")) return line.substr(5);
  return "";
}

std::vector<std::string> taps_of_process(pid_t pid) {
  std::vector<std::string> out;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator{fmt::format("/proc/{}/fd", pid), code}) {
    const fs::path target = fs::read_symlink(entry.path(), code);
    if (code || target != "/dev/net/tun") continue;
    if (auto name = tap_name_of_fd(pid, entry.path().filename().native()); !name.empty())
      out.push_back(std::move(name));
  }
  return out;
}

std::string bridge_of(const std::string& interface) {
  if (interface.empty()) return "";
  std::error_code code;
  const fs::path master = fs::read_symlink(fs::path{"/sys/class/net"} / interface / "master", code);
  return code ? "" : master.filename().native();
}

}  // namespace remus::hypervisor::qemu
