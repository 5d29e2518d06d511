// What others write into a guest that stands still, which is no fault of a capture: a network back end copies a frame that
// comes for the guest into a page the guest has granted, and tells so in the ring they share.
//
// Nothing of it is lost: Xen logs such a copy as a write, so the next checkpoint has the page; only pages a back end keeps
// mapped (the rings) are written without a trace, and those are set up anew wherever the guest goes on elsewhere.
#pragma once

#include <cstdint>
#include <set>

#include "hypervisor/xen/handles.hpp"

namespace remus::test {

struct LateWrites {
  /// Granted for writing, by gfn (PV: pfn): what others can write at all.
  std::set<std::uint64_t> granted{};
  /// Of these, what has been written since the last checkpoint, or is mapped by a back end.
  std::set<std::uint64_t> written{};
};

/// Reads the guest's grant table, as the guest wrote it (xen/grant_table.h), and looks into the log of its writes, which must
/// be on. Errors: unsupported (a grant table of version 2), io.
Result<LateWrites> late_writes(hypervisor::xen::Handles& handles, std::uint32_t domid);

}  // namespace remus::test
