// What a standby takes of its host and gives back: directories, image files, taps, a process. Used by
// standby.cpp.
#pragma once

#include <vector>

#include "hypervisor/qemu/command_line.hpp"
#include "hypervisor/qemu/standby.hpp"
#include "hypervisor/qemu/standby_record.hpp"

namespace remus::hypervisor::qemu {

struct StandbyPlaces {
  std::filesystem::path runtime{};  ///< runtime_dir/name
  std::filesystem::path image{};    ///< image_root/name
  std::filesystem::path qmp{};
  std::filesystem::path record{};
  std::filesystem::path log{};
};
[[nodiscard]] StandbyPlaces places_of(const StandbyOptions& options);

/// Interface name for a netdev of this guest: the configured one, or one derived from both names (≤ 15
/// bytes).
[[nodiscard]] std::string tap_name_for(const StandbyOptions& options, const std::string& netdev);

/// The program to start; its version must be the primary's. Errors: not_found, incompatible.
Result<std::filesystem::path> choose_binary(const StandbyOptions& options, const GuestFacts& facts);

/// Files the guest's QEMU opens must be here, and as long as on the primary. Errors: incompatible, names them
/// all.
Status check_files(const std::vector<NeededFile>& files, const nlohmann::json& on_primary);
/// Lengths of the files as the backup wants to see them: {"path": bytes}; directories are not listed.
[[nodiscard]] nlohmann::json describe_files(const std::vector<NeededFile>& files);

/// Makes a directory only we may enter. Errors: io.
Status make_private_directory(const std::filesystem::path& directory);

/// Gives back all that a record names; goes on after a failure and reports the first.
Status give_back(const StandbyRecord& record, const StandbyPlaces& places);

/// The last lines of the QEMU's log, for an error.
[[nodiscard]] std::string log_tail(const std::filesystem::path& log);

}  // namespace remus::hypervisor::qemu
