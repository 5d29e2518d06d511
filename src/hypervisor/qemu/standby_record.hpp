// What a standby has taken of its host, on disk, so that a fresh guard can give it back after a crash.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace remus::hypervisor::qemu {

struct StandbyRecord {
  pid_t pid{};  ///< 0: not started yet
  std::uint64_t start_time{};
  bool activated{};
  std::filesystem::path qmp{};
  std::filesystem::path image_dir{};
  std::vector<std::string> taps{};  ///< those we made
};

/// Written whole or not at all.
Status save_record(const std::filesystem::path& file, const StandbyRecord& record);
/// nullopt if there is none. Errors: corrupt, io.
Result<std::optional<StandbyRecord>> load_record(const std::filesystem::path& file);

}  // namespace remus::hypervisor::qemu
