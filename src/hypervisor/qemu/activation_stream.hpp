// What the waiting QEMU is fed to become the guest: an ordinary migration stream whose shared memory is
// already there.
//
//   "QEVM" 3 | 07 configuration, with capability x-ignore-shared | 01 ram: blocks, each with its address
//   | 03 ram: pages of blocks that are not shared (ROMs, video memory) | device sections 00 | 06 "{}"
#pragma once

#include <set>
#include <string>
#include <vector>

#include "hypervisor/qemu/device_blob.hpp"
#include "hypervisor/qemu/guest_facts.hpp"
#include "hypervisor/standby.hpp"

namespace remus::hypervisor::qemu {

/// Pure. `shared` are the backends whose blocks the waiting QEMU has mapped.
/// Errors: corrupt (blob, configuration), incompatible.
Result<std::vector<std::byte>> activation_stream(const DeviceBlob& blob, const StandbyMemory& memory,
                                                 const std::vector<MemoryBackend>& shared);

}  // namespace remus::hypervisor::qemu
