// Replicated disks that a QEMU serves, behind the seam: a tap each, and one export for reading.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hypervisor/guest_disks.hpp"
#include "hypervisor/qemu/disk_tap.hpp"
#include "hypervisor/qemu/guest_facts.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace remus::hypervisor::qemu {

/// `name`: one of the disk's, by which its administrator calls it.
[[nodiscard]] GuestDisk describe(const std::string& name, const Disk& disk);

/// `directory`: the guard's own, for a socket. `standstill`: as DiskTap's. Changes nothing in the guest yet.
[[nodiscard]] std::unique_ptr<GuestDisks> make_guest_disks(
    std::shared_ptr<Qmp> qmp, const std::vector<std::pair<std::string, Disk>>& disks,
    const std::filesystem::path& directory, const Standstill& standstill = {});

}  // namespace remus::hypervisor::qemu
