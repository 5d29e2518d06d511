// What differs between a 64-bit and a 32-bit PV guest in what Xen's tools see of them: the width of frame numbers, the
// levels of page tables, and how CR3 holds a frame. A 32-bit guest has PAE: entries of its page tables have 64 bits, too.
// Source: Xen's public/arch-x86/xen-x86_32.h. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace remus::hypervisor::xen {

struct PvShape {
  unsigned width_bytes{8};  ///< 8 or 4

  [[nodiscard]] constexpr bool narrow() const noexcept { return width_bytes == sizeof(std::uint32_t); }
  [[nodiscard]] constexpr unsigned levels() const noexcept { return narrow() ? 3 : 4; }
  /// Frame numbers a page holds: of the guest's table of frames, and of the lists of its pages.
  [[nodiscard]] constexpr std::size_t frames_a_page() const noexcept { return 4096 / width_bytes; }

  /// The frame number with this index in a guest's array of them; ~0 where there is no frame.
  [[nodiscard]] std::uint64_t frame_at(const void* frames, std::size_t index) const noexcept {
    const auto* const place = static_cast<const std::byte*>(frames) + index * width_bytes;
    if (!narrow()) {
      std::uint64_t frame = 0;
      std::memcpy(&frame, place, sizeof frame);
      return frame;
    }
    std::uint32_t frame = 0;
    std::memcpy(&frame, place, sizeof frame);
    return frame == ~std::uint32_t{0} ? ~std::uint64_t{0} : frame;
  }

  /// A 32-bit CR3 has the upper 12 bits of the frame number where an address has the offset within a page.
  [[nodiscard]] constexpr std::uint64_t frame_of_cr3(std::uint64_t cr3) const noexcept {
    if (!narrow()) return cr3 >> 12;
    const auto value = static_cast<std::uint32_t>(cr3);
    return value >> 12 | (value & 0xfff) << 20;
  }
  [[nodiscard]] constexpr std::uint64_t cr3_of_frame(std::uint64_t frame) const noexcept {
    if (!narrow()) return frame << 12;
    const auto value = static_cast<std::uint32_t>(frame);
    return static_cast<std::uint32_t>(value << 12 | value >> 20);
  }
};

}  // namespace remus::hypervisor::xen
