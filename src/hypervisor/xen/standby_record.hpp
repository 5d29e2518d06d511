// What a standby has taken of its host, on disk, so that a fresh guard can give it back after a crash.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/error.hpp"

namespace remus::hypervisor::xen {

struct StandbyRecord {
  pid_t pid{};  ///< of remus-xen-standby; 0: not started yet
  std::uint64_t start_time{};
  bool activated{};
  std::uint32_t domid{};  ///< 0: not made yet
  std::string uuid{};     ///< of the domain: its number may be another's by now
};

/// Written whole or not at all. Errors: io.
Status save_record(const std::filesystem::path& file, const StandbyRecord& record);
/// nullopt if there is none. Errors: corrupt, io.
Result<std::optional<StandbyRecord>> load_record(const std::filesystem::path& file);

}  // namespace remus::hypervisor::xen
