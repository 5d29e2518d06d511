#include "hypervisor/xen/served_disks.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "hypervisor/qemu/inspect.hpp"

namespace remus::hypervisor::xen {

namespace {

/// QEMU names the node of a PV driver's disk after the virtual device, "xvda-raw"; an emulated disk's has a name of its own.
bool for_pv_driver(const qemu::Disk& disk, const std::string& device) {
  return disk.node == fmt::format("{}-{}", device, disk.driver);
}

const qemu::Disk* served_as(const Disk& wanted, const std::vector<qemu::Disk>& served) {
  const qemu::Disk* found = nullptr;
  for (const qemu::Disk& disk : served) {
    if (disk.file != wanted.target) continue;
    if (for_pv_driver(disk, wanted.device) == wanted.connected) return &disk;
    if (found == nullptr) found = &disk;
  }
  return found;
}

}  // namespace

Result<ServedDisks> find_served(const DomainFacts& facts, const std::vector<std::string>& names,
                                qemu::GuestFacts served) {
  ServedDisks out;
  std::vector<std::string> reasons;
  for (const std::string& name : names) {
    const auto wanted = std::ranges::find(facts.disks, name, &Disk::device);
    const qemu::Disk* disk = wanted == facts.disks.end() ? nullptr : served_as(*wanted, served.disks);
    if (disk == nullptr) {
      reasons.push_back(fmt::format("the QEMU that serves its disks has none '{}'", name));
      continue;
    }
    out.emplace_back(name, *disk);
    out.back().second.device = name;
  }
  // The same image for another driver, which has nothing to do with it now, is no reason.
  served.disks.clear();
  for (const auto& [name, disk] : out) served.disks.push_back(disk);
  for (std::string& reason : qemu::disk_objections(served, names)) reasons.push_back(std::move(reason));
  if (reasons.empty()) return out;
  return fail(Errc::refused,
              fmt::format("domain '{}' cannot be protected: {}", facts.name, fmt::join(reasons, "; ")));
}

}  // namespace remus::hypervisor::xen
