#include "guard/backup_disks.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/fd.hpp"
#include "base/files.hpp"
#include "disk/posix_storage.hpp"
#include "disk/replica_record.hpp"

namespace remus::guard {
namespace {

namespace fs = std::filesystem;

const DiskOption* option_of(const GuardSpec& spec, const hypervisor::GuestDisk& disk) {
  const auto found = std::ranges::find(spec.options.disks, disk.name, &DiskOption::name);
  return found == spec.options.disks.end() ? nullptr : &*found;
}

Result<fs::path> place_of(const hypervisor::GuestDisk& disk, const DiskOption* option) {
  if (option != nullptr && !option->target.empty()) return fs::path{option->target};
  if (!fs::path{disk.image}.is_absolute())
    return fail(Errc::invalid,
                fmt::format("the image '{}' of disk '{}' is no place on this host", disk.image, disk.name),
                fmt::format("name one: --disk {},target=PATH", disk.name));
  // A replica is raw, and says so where the image is not.
  return fs::path{disk.format == "raw" || disk.format == "host_device" ? disk.image : disk.image + ".raw"};
}

/// What is there may be overwritten (true), or nothing is there, and can be made (false); else an error.
Result<bool> may_take(const hypervisor::GuestDisk& disk, const fs::path& path, bool known, bool overwrite) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) == 0) {
    const bool empty = S_ISREG(facts.st_mode) && facts.st_size == 0;
    if (empty || known || overwrite) return true;
    return fail(Errc::exists,
                fmt::format("'{}' is there already, and is not known to be a copy of the guest's disk '{}'",
                            path.string(), disk.name),
                fmt::format("remove it, name another place (--disk {0},target=PATH), or have it overwritten "
                            "(--disk {0},overwrite)",
                            disk.name));
  }
  if (errno != ENOENT) return fail_errno(errno, fmt::format("disk '{}': '{}'", disk.name, path.string()));
  if (std::error_code code; fs::is_directory(path.parent_path(), code)) return false;
  return fail(Errc::not_found,
              fmt::format("there is no directory '{}' for the replica of disk '{}'",
                          path.parent_path().string(), disk.name),
              fmt::format("make it on this host, or name another place: --disk {},target=PATH", disk.name));
}

Status make_empty(const fs::path& path) {
  const Fd made{::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  return made ? Status{} : fail_errno(errno, fmt::format("cannot make '{}'", path.string()));
}

/// What the replicas that are there stand for.
Status look_at(disk::ReplicaSet& replicas, disk::StorageFolder& folder, const GuardSpec& spec,
               std::uint64_t earlier, BackupDisks& out) {
  const auto record = disk::read_record(folder);
  if (!record) {
    out.found = record.error().kind == Errc::not_found ? "" : record.error().what;
    return {};
  }
  if (record->phase == disk::ReplicaPhase::active) {
    if (spec.generation > earlier) return {};  // it has gone on elsewhere since
    if (std::ranges::any_of(spec.options.disks, &DiskOption::overwrite)) return {};
    return fail(
        Errc::refused,
        fmt::format(
            "guest '{}' ran on this host after a failover (generation {}), and its disks here are newer "
            "than those of generation {}",
            spec.guest, earlier, spec.generation),
        "start the guest here, or, if these disks may be lost, protect it with --disk NAME,overwrite");
  }
  out.base = record->session;
  auto recovered = replicas.recover();
  if (recovered)
    out.found = fmt::format("the disks here are whole at epoch {} of session {:x}", recovered->epoch,
                            recovered->session);
  else
    out.found = recovered.error().what;
  if (!recovered && recovered.error().kind != Errc::refused) out.base = 0;
  return {};
}

}  // namespace

Result<BackupDisks> open_backup_disks(const GuardSpec& spec, const hypervisor::GuestDescription& guest,
                                      std::uint64_t earlier) {
  BackupDisks out;
  if (guest.disks.empty()) return out;
  const DiskPlaces known = known_places(spec);
  DiskPlaces places;
  std::vector<fs::path> to_make;
  // First all that only looks.
  for (const auto& disk : guest.disks) {
    const DiskOption* option = option_of(spec, disk);
    auto place = place_of(disk, option);
    if (!place) return std::unexpected(place.error());
    const auto before = known.find(disk.name);
    const bool is_known = before != known.end() && before->second == place->native();
    const auto there = may_take(disk, *place, is_known, option != nullptr && option->overwrite);
    if (!there) return std::unexpected(there.error());
    if (!*there) to_make.push_back(*place);
    places[disk.name] = place->native();
  }
  for (const auto& path : to_make)
    if (Status made = make_empty(path); !made) return std::unexpected(made.error());
  std::vector<disk::ReplicaDisk> disks;
  for (const auto& disk : guest.disks) {
    const fs::path place = places[disk.name];
    auto file = disk::open_replica(place);
    if (!file) return std::unexpected(file.error().in(fmt::format("disk '{}'", disk.name)));
    std::error_code code;
    out.places[disk.name] = {.path = place, .block_device = fs::is_block_file(place, code)};
    disks.push_back({.name = place.native(), .file = std::move(*file), .bytes = disk.bytes});
  }
  if (Status made = make_directory(disk_folder(spec), 0700); !made) return std::unexpected(made.error());
  auto folder = disk::open_folder(disk_folder(spec));
  if (!folder) return std::unexpected(folder.error());
  out.folder = std::move(*folder);
  auto replicas = disk::ReplicaSet::open(*out.folder, std::move(disks));
  if (!replicas) return std::unexpected(replicas.error());
  // Known from now on to be this guest's, and not before they were found to fit.
  if (Status kept = keep_places(spec, places); !kept) return std::unexpected(kept.error());
  if (Status seen = look_at(**replicas, *out.folder, spec, earlier, out); !seen)
    return std::unexpected(seen.error());
  out.replicas = std::move(*replicas);
  return out;
}

}  // namespace remus::guard
