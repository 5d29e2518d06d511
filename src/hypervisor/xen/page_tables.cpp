#include "hypervisor/xen/page_tables.hpp"

#include "hypervisor/xen/records.hpp"

namespace remus::hypervisor::xen {

namespace {
constexpr std::uint64_t present = 1U << 0;
constexpr std::uint64_t superpage = 1U << 7;
constexpr std::uint64_t frame_mask = 0x000ffffffffff000;

/// The entries that are Xen's own: they are not the guest's state, and Xen fills them in by itself on the
/// other host.
struct XensOwn {
  std::size_t first{page_table_entries};
  std::size_t last{};
};

XensOwn xens_own(const PagingForm& form, std::uint64_t level, const std::uint64_t* table) noexcept {
  if (form.levels == 4) {  // virtual addresses 0xffff8000... to 0xffff87ff...
    if (level == page_type::l4) return {256, 271};
    return {};
  }
  constexpr std::size_t last = page_table_entries - 1;
  if (level == page_type::l3) return {4, last};  // a 32-bit guest has the first 4 entries, 1 GiB each
  constexpr std::size_t compat_first = 0xf5800000U >> 21 & last;  // in the L2 of the last GiB
  if (level == page_type::l2 && (table[compat_first] & frame_mask) >> 12 == form.compat_m2p_frame)
    return {compat_first, last};
  return {};
}
}  // namespace

bool canonicalize(const FrameTable& frames, std::uint64_t type, const std::uint64_t* table,
                  std::uint64_t* out) noexcept {
  const std::uint64_t level = type & ~page_type::pinned;
  if (level > frames.form().levels) return false;
  const XensOwn xens = xens_own(frames.form(), level, table);
  for (std::size_t i = 0; i < page_table_entries; ++i) {
    std::uint64_t entry = table[i];
    if (i >= xens.first && i <= xens.last) entry = 0;
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
