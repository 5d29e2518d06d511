// Which disks of a guest can be replicated, and which stand in the way of protecting it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "hypervisor/qemu/disk_export.hpp"
#include "hypervisor/qemu/inspect.hpp"
#include "hypervisor/qemu/leftovers.hpp"

namespace remus::hypervisor::qemu {

namespace {

bool is_named(const Disk& disk, std::string_view name) {
  return !name.empty() && (disk.device == name || disk.id == name || disk.node == name);
}

bool is_writable(const Disk& disk) {
  return !disk.file.empty() && !disk.read_only;
}

std::string known_disks(const GuestFacts& facts) {
  std::vector<std::string> names;
  for (const Disk& disk : facts.disks)
    if (is_writable(disk)) names.push_back(disk.device);
  return names.empty() ? "it has no writable disk" : fmt::format("it has: {}", fmt::join(names, ", "));
}

void one_disk(const GuestFacts& facts, const Disk& disk, std::vector<std::string>& out) {
  const auto object = [&](std::string_view why) {
    out.push_back(fmt::format("disk '{}' ({}) {}", disk.device, disk.file, why));
  };
  if (disk.file.empty()) {
    out.push_back(fmt::format("disk '{}' has no medium", disk.device));
    return;
  }
  if (disk.read_only) object("is read-only: it needs no replication, do not name it");
  if (disk.bytes == 0) object("is empty");
  if (disk.removable) object("could be ejected: removable media are not replicated; make it readonly=on");
  if (!can_export(disk, facts.version) && !disk.plain)
    object(
        fmt::format("is no raw image, and QEMU {} cannot let it be read while it has I/O threads: use a raw "
                    "image, QEMU 9.0 or "
                    "later, or no I/O threads",
                    facts.version.text()));
  if (disk.encrypted) object("is encrypted by QEMU, and its replica would not be");
  for (const Disk& other : facts.disks)
    if (&other != &disk && !other.node.empty() && other.node == disk.node)
      object(fmt::format("is in '{}' as well", other.device));
  for (const BlockExport& exported : facts.exports)
    if (exported.node == disk.node)
      object(fmt::format(
          "is exported to others ({} '{}'), who could write to it: end that (QMP: block-export-del)",
          exported.type, exported.id));
}

}  // namespace

const Disk* find_disk(const GuestFacts& facts, std::string_view name) {
  const Disk* found = nullptr;
  for (const Disk& disk : facts.disks) {
    if (!is_named(disk, name)) continue;
    if (found != nullptr) return nullptr;
    found = &disk;
  }
  return found;
}

namespace {

/// What the names stand for; a name that stands for nothing, or for something twice, is an objection.
std::vector<const Disk*> named_disks(const GuestFacts& facts, const std::vector<std::string>& names,
                                     std::vector<const Disk*>& all, std::vector<std::string>& out) {
  std::vector<const Disk*> found;
  for (const auto& name : names) {
    const Disk* disk = find_disk(facts, name);
    if (disk == nullptr) {
      const bool several = std::ranges::any_of(facts.disks, [&](const Disk& d) { return is_named(d, name); });
      out.push_back(several ? fmt::format("'{}' names more than one disk of this guest", name)
                            : fmt::format("this guest has no disk '{}'; {}", name, known_disks(facts)));
    } else if (std::ranges::find(all, disk) != all.end()) {
      out.push_back(fmt::format("disk '{}' is named twice", disk->device));
    } else {
      all.push_back(disk);
      found.push_back(disk);
    }
  }
  return found;
}

}  // namespace

std::vector<std::string> disk_objections(const GuestFacts& facts, const std::vector<std::string>& disks,
                                         const std::vector<std::string>& elsewhere) {
  std::vector<std::string> out;
  std::vector<const Disk*> named;
  for (const Disk* disk : named_disks(facts, disks, named, out)) one_disk(facts, *disk, out);
  static_cast<void>(named_disks(facts, elsewhere, named, out));
  for (const Disk& disk : facts.disks)
    if (is_writable(disk) && std::ranges::find(named, &disk) == named.end())
      out.push_back(fmt::format(
          "disk '{0}' ({1}) is writable, and would not be there after a failover: have it replicated (--disk "
          "{0}), say "
          "that the other host has it (--disk {0}=shared, --disk {0}=external), or make it readonly",
          disk.device, disk.file));
  if (disks.empty()) return out;
  if (!facts.version.at_least(7, 2))
    out.push_back(fmt::format("QEMU {} is too old to replicate disks: 7.2 is the oldest supported for that",
                              facts.version.text()));
  for (const Job& job : facts.jobs)
    if (!job.id.starts_with(leftover_prefix))  // a tap of ours, put in before
      out.push_back(
          fmt::format("QEMU is busy with job '{}' ({}): wait for its end, or cancel it (QMP: job-cancel)",
                      job.id, job.type));
  return out;
}

}  // namespace remus::hypervisor::qemu
