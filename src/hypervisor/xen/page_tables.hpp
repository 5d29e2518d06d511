// Page tables of PV guests in canonical form: with pfns, which stay what they are on another host, where the
// guest has machine frames, which do not.
//
// A PV guest knows the machine frames (mfns) of its pages, and its page tables hold them. Xen's table of all
// frames (machine to physical, m2p) and the guest's own (p2m) translate. A frame that the two do not agree on
// is not the guest's: nothing to be found in a page table of a guest that stands still. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace remus::hypervisor::xen {

inline constexpr std::size_t page_table_entries = 512;

/// What tells Xen's own entries in a guest's page tables from the guest's.
struct PagingForm {
  unsigned levels{4};  ///< 3: a 32-bit guest
  /// 32-bit guests: the first frame of the table of frames that Xen shows them. Only an L2 that maps it has
  /// entries of Xen's.
  std::uint64_t compat_m2p_frame{~std::uint64_t{0}};
};

class FrameTable final {
 public:
  FrameTable() = default;
  FrameTable(std::span<const std::uint64_t> pfn_of_mfn, std::span<const std::uint64_t> mfn_of_pfn,
             PagingForm form = {})
      : pfn_of_mfn_{pfn_of_mfn}, mfn_of_pfn_{mfn_of_pfn}, form_{form} {}

  /// Nothing if the frame is not the guest's.
  [[nodiscard]] std::optional<std::uint64_t> pfn(std::uint64_t mfn) const noexcept {
    if (mfn >= pfn_of_mfn_.size()) return std::nullopt;
    const std::uint64_t pfn = pfn_of_mfn_[static_cast<std::size_t>(mfn)];
    if (pfn >= mfn_of_pfn_.size() || mfn_of_pfn_[static_cast<std::size_t>(pfn)] != mfn) return std::nullopt;
    return pfn;
  }
  [[nodiscard]] const PagingForm& form() const noexcept { return form_; }

 private:
  std::span<const std::uint64_t> pfn_of_mfn_{};
  std::span<const std::uint64_t> mfn_of_pfn_{};
  PagingForm form_{};
};

/// Writes the canonical form of a page table. `type`: page_type::l1..l4, pinned or not. Returns false if an
/// entry is not to be translated: the guest is changing it (try again when it stands still), or it is a
/// superpage, which a PV guest cannot have; and for an L4 of a 32-bit guest, which has none. `out` and `table`
/// have page_table_entries each.
[[nodiscard]] bool canonicalize(const FrameTable& frames, std::uint64_t type, const std::uint64_t* table,
                                std::uint64_t* out) noexcept;

}  // namespace remus::hypervisor::xen
