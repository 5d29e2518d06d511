// The guest's memory as the protocol sees it: blocks of pages, numbered through.
//
//   block "pc.ram"   pages 0 .. 65535
//   block "vga.vram" pages 65536 .. 69631         PageIndex 65540 = page 4 of vga.vram
//
// Xen guests have a block for each contiguous run of populated gfns, named "ram@<first gfn, hex>".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace remus::checkpoint {

inline constexpr std::size_t page_bytes = 4096;
/// Blocks a layout may have, everywhere: QEMU makes one for each memory module and each device's ROM or video memory.
inline constexpr std::size_t layout_blocks_max = 1024;

using PageIndex = std::uint32_t;  ///< position among all pages of the guest, 0-based: up to 16 TiB
using Epoch = std::uint64_t;      ///< 0 is the state at the end of the synchronization

struct Block {
  std::string name{};     ///< hypervisor's name, at most 255 bytes
  std::uint64_t bytes{};  ///< a multiple of page_bytes
  PageIndex first_page{};
  bool operator==(const Block&) const = default;
  [[nodiscard]] PageIndex pages() const noexcept { return static_cast<PageIndex>(bytes / page_bytes); }
};

struct Layout {
  std::vector<Block> blocks{};
  bool operator==(const Layout&) const = default;
  [[nodiscard]] PageIndex pages() const noexcept {
    return blocks.empty() ? 0 : blocks.back().first_page + blocks.back().pages();
  }
  void add(std::string name, std::uint64_t bytes) { blocks.push_back({std::move(name), bytes, pages()}); }
};

}  // namespace remus::checkpoint
