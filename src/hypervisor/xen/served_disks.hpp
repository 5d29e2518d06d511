// A domain's disks that a QEMU in dom0 serves (backendtype=qdisk): the device model of an HVM domain, or a QEMU that libxl has
// started for the disks of a PV or PVH domain. There they are tapped, as any guest of QEMU's (qemu/disk_tap.hpp).
//
// A guest with PV drivers has requests under way when it stops, and QEMU goes on with them: what of them comes to the log after the
// mark is of the next epoch. The guest does not know of their end. Its driver begins each of them anew on the backup, as it
// does after any migration, so that the copy lacks nothing that the guest relies on.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hypervisor/guest_disks.hpp"
#include "hypervisor/qemu/guest_facts.hpp"
#include "hypervisor/xen/domain_facts.hpp"

namespace remus::hypervisor::xen {

using ServedDisks =
    std::vector<std::pair<std::string, qemu::Disk>>;  ///< a virtual device's name, and what QEMU has of it

/// Those of `names` among what QEMU told of its own disks (`served`: disks, jobs, exports). Of an image that QEMU has open twice, for an
/// emulated disk and for the guest's PV driver, the one in use. Errors: refused, with every reason. Pure.
Result<ServedDisks> find_served(const DomainFacts& facts, const std::vector<std::string>& names,
                                qemu::GuestFacts served);

}  // namespace remus::hypervisor::xen
