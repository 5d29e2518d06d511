// Which machine frame is behind each pfn of a PV domain.
//
// Xen (since 4.17) lists no domain's frames any more. But its machine-to-physical table names a pfn for every
// frame of the host, and for a list of frames it tells which are a given domain's. The table is read once, at
// prepare(): 8 bytes for each 4 KiB of the host's memory.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.hpp"

struct xenforeignmemory_handle;

namespace remus::hypervisor::xen {

inline constexpr std::uint64_t no_frame = ~std::uint64_t{0};

/// By pfn, 0 .. pfn_end-1; no_frame where there is none. Errors: io.
Result<std::vector<std::uint64_t>> machine_frames_of(xenforeignmemory_handle* foreign, std::uint32_t domid,
                                                     std::uint64_t pfn_end);

}  // namespace remus::hypervisor::xen
