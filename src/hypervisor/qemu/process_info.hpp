// What /proc tells about a process, and what the kernel tells about its taps.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace remus::hypervisor::qemu {

struct ProcessInfo {
  std::vector<std::string> argv{};
  std::string binary{};     ///< /proc/PID/exe
  std::string directory{};  ///< /proc/PID/cwd
};
/// Errors: not_found, io.
Result<ProcessInfo> read_process(pid_t pid);

/// Whether the process has loaded a library whose file name begins so.
[[nodiscard]] bool maps_library(pid_t pid, std::string_view name);

/// Interface behind an open /dev/net/tun, from its fdinfo; "" if there is none.
[[nodiscard]] std::string tap_name_of_fd(pid_t pid, const std::string& fd);
[[nodiscard]] std::vector<std::string> taps_of_process(pid_t pid);

/// The bridge an interface is enslaved to; "" if none.
[[nodiscard]] std::string bridge_of(const std::string& interface);

}  // namespace remus::hypervisor::qemu
