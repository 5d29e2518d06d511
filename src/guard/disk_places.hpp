// Where the disks of a guest are on this host, kept for the day on which its part in the protection changes: what was once
// this guest's image or replica may be overwritten when it becomes a replica again, and nothing else.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "guard/spec.hpp"

namespace remus::guard {

using DiskPlaces = std::map<std::string, std::string>;  ///< a disk's name → path

/// STATE/disks/<guest>: places; on the backup journal and record of the replicas, too.
[[nodiscard]] std::filesystem::path disk_folder(const GuardSpec& spec);
/// Empty where nothing is known.
[[nodiscard]] DiskPlaces known_places(const GuardSpec& spec);
/// Makes the folder, too. Errors: io, exhausted.
Status keep_places(const GuardSpec& spec, const DiskPlaces& places);

}  // namespace remus::guard
