// The stream a waiting domain is restored from, in the pieces in which it is sent.
//
//   opening      libxl header, LIBXC_CONTEXT, image and domain header, the primary's static records
//   allocation   PAGE_DATA for every page there is: makes the restore populate the domain
//   fence        an optional record nobody knows: once its header has been read, all before it has been acted on
//   typed pages  PV, at activation: page tables, in canonical form, with their types
//   closing      the records of the epoch, END; the device model's records, END
//
// HVM and PVH pages are allocated by type XALLOC, without contents. PV pages are not: the restore remembers
// XALLOC as the page's type, and refuses it later for the guest's start_info, GDT and p2m pages. They are
// sent as what they are, ordinary pages, of zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hypervisor/xen/device_state.hpp"
#include "hypervisor/xen/records.hpp"

namespace remus::hypervisor::xen {

struct XenVersion {
  std::uint32_t major{};
  std::uint32_t minor{};
  auto operator<=>(const XenVersion&) const = default;
};

[[nodiscard]] std::vector<std::byte> stream_opening(bool pv, XenVersion primary,
                                                    std::span<const std::byte> static_records);

/// A PAGE_DATA record up to where the contents begin. `coded` pages, of which `with_contents` follow with
/// contents.
[[nodiscard]] std::vector<std::byte> page_data_head(std::span<const std::uint64_t> coded,
                                                    std::size_t with_contents);

[[nodiscard]] std::vector<std::byte> stream_fence();

/// X86_PV_P2M_FRAMES that says how many pfns there may be and, as yet, nothing else: for a primary whose
/// static records do not have it.
[[nodiscard]] std::vector<std::byte> p2m_bound(std::uint64_t last_pfn, unsigned width_bytes);

[[nodiscard]] std::vector<std::byte> stream_closing(const DeviceState& state);

}  // namespace remus::hypervisor::xen
