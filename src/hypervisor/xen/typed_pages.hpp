// A PV guest's page tables on their way into the restored domain.
//
// They travel in canonical form, pfns instead of machine frames. At activation each goes through the restore,
// as PAGE_DATA with its type: the restore puts this host's machine frames in, and pins what was pinned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hypervisor/xen/device_state.hpp"
#include "hypervisor/xen/incoming_memory.hpp"

namespace remus::hypervisor::xen {

/// PAGE_DATA records for all pages that are not ordinary memory, with their contents from `memory`. Errors:
/// corrupt (a page table the memory does not have).
Result<std::vector<std::vector<std::byte>>> typed_pages(const DeviceState& state,
                                                        const IncomingMemory& memory);

/// The record that bounds the pfns, if the static records do not have it; else nothing.
[[nodiscard]] std::vector<std::byte> missing_p2m_bound(std::span<const std::byte> static_records,
                                                       std::uint64_t last_pfn);

}  // namespace remus::hypervisor::xen
