// Names of what we put into a running QEMU, so that a successor can find and remove it.
#pragma once

#include <string_view>

#include "hypervisor/qemu/disk_tap.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace remus::hypervisor::qemu {

inline constexpr std::string_view leftover_prefix = "remus-";
/// Chardevs of the derived command line (command_line_rules.cpp): they belong to the guest, not to us.
inline constexpr std::string_view standby_chardev_prefix = "remus-guest-";

/// NBD nodes that a guest's writes are mirrored to.
inline constexpr std::string_view disk_target_prefix = "remus-disk-";

/// Removes filter objects and chardevs, taps and exports of disks of a dead predecessor. `standstill`: as DiskTap's.
Status remove_leftovers(Qmp& qmp, const Standstill& standstill = {});

}  // namespace remus::hypervisor::qemu
