#include "hypervisor/xen/page_tables.hpp"

#include "hypervisor/xen/records.hpp"

namespace remus::hypervisor::xen {

namespace {
constexpr std::uint64_t present = 1U << 0;
constexpr std::uint64_t superpage = 1U << 7;
constexpr std::uint64_t frame_mask = 0x000ffffffffff000;
// Of a level 4 table these entries are Xen's own (its virtual addresses 0xffff8000... to 0xffff87ff...): they
// are not the guest's state, and Xen fills them in by itself on the other host.
constexpr std::size_t xen_first = 256;
constexpr std::size_t xen_last = 271;
}  // namespace

bool canonicalize(const FrameTable& frames, std::uint64_t type, const std::uint64_t* table,
                  std::uint64_t* out) noexcept {
  const std::uint64_t level = type & ~page_type::pinned;
  for (std::size_t i = 0; i < page_table_entries; ++i) {
    std::uint64_t entry = table[i];
    if (level == page_type::l4 && i >= xen_first && i <= xen_last) entry = 0;
    if ((entry & present) != 0) {
      if (level > page_type::l1 && (entry & superpage) != 0) return false;
      const auto pfn = frames.pfn((entry & frame_mask) >> 12);
      if (!pfn) return false;
      entry = (entry & ~frame_mask) | *pfn << 12;
    }
    out[i] = entry;
  }
  return true;
}

}  // namespace remus::hypervisor::xen
