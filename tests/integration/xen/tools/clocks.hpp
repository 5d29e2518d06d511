// A record of Xen's stream without what goes on while the guest stands still: it differs from one look to the next, though
// nothing else may.
#pragma once

#include <cstddef>
#include <vector>

#include "hypervisor/xen/device_state.hpp"

namespace remus::test {

/// The record's body, its clocks and waiting events zeroed. `width_bytes` of a PV guest's words: 8 or 4.
std::vector<std::byte> without_clocks(const hypervisor::xen::Record& record, unsigned width_bytes);

}  // namespace remus::test
