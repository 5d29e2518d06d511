#include "guard/disk_places.hpp"

#include "base/files.hpp"

namespace remus::guard {
namespace {
constexpr const char* places_file = "places.json";
}  // namespace

std::filesystem::path disk_folder(const GuardSpec& spec) {
  return spec.dirs.state / "disks" / spec.guest;
}

DiskPlaces known_places(const GuardSpec& spec) {
  DiskPlaces places;
  const auto read = read_json(disk_folder(spec) / places_file);
  if (!read || !read->is_object()) return places;
  for (const auto& [name, path] : read->items())
    if (path.is_string()) places[name] = path.get<std::string>();
  return places;
}

Status keep_places(const GuardSpec& spec, const DiskPlaces& places) {
  const auto folder = disk_folder(spec);
  if (Status made = make_directory(folder, 0700); !made) return made;
  return write_atomically(folder / places_file, nlohmann::json(places).dump());
}

}  // namespace remus::guard
