// Files that are either the old or the new one, never half of it: written aside, renamed into
// place. On a full disk the old file stays, and the error says so.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.hpp"

namespace remus {

/// What a file is still there after, once it is written: synchronizing costs milliseconds, and many on a busy
/// disk.
enum class Survives : std::uint8_t { our_death, power_cut };

/// Errors: exhausted (disk full or quota), io.
[[nodiscard]] Status write_atomically(const std::filesystem::path& path, std::string_view text,
                                      mode_t mode = 0600, Survives survives = Survives::power_cut);
/// At most 16 MiB. Errors: not_found, io, corrupt (not JSON).
[[nodiscard]] Result<nlohmann::json> read_json(const std::filesystem::path& path);
/// Removes the file if it exists, durably.
[[nodiscard]] Status remove_file(const std::filesystem::path& path);
/// Creates the directory and its parents; the last one gets `mode`. An existing one is left as it is.
[[nodiscard]] Status make_directory(const std::filesystem::path& path, mode_t mode);

}  // namespace remus
