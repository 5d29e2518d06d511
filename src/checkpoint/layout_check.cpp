#include "checkpoint/layout_check.hpp"

#include <fmt/format.h>

#include <limits>
#include <set>
#include <string_view>

namespace remus::checkpoint {

Status check(const Layout& layout) {
  const auto bad = [](std::string what) {
    return fail(Errc::corrupt, "memory layout: " + std::move(what),
                "check that both hosts run the same version of remus");
  };
  if (layout.blocks.empty()) return bad("it has no block");
  if (layout.blocks.size() > layout_blocks_max)
    return fail(Errc::unsupported,
                fmt::format("the guest's memory is in {} blocks, and at most {} can be protected",
                            layout.blocks.size(), layout_blocks_max),
                "take out devices with ROMs of their own (rombar=0), or use fewer and larger memory modules");

  constexpr std::uint64_t pages_max = std::numeric_limits<PageIndex>::max();
  std::set<std::string_view> names;
  std::uint64_t next = 0;
  for (const Block& block : layout.blocks) {
    if (block.name.empty() || block.name.size() > 255) return bad("a block's name is empty or too long");
    if (!names.insert(block.name).second) return bad(fmt::format("block '{}' comes twice", block.name));
    if (block.bytes % page_bytes != 0)
      return bad(fmt::format("block '{}' is not of whole pages", block.name));
    if (block.first_page != next)
      return bad(fmt::format("block '{}' does not follow its neighbour", block.name));
    const std::uint64_t pages = block.bytes / page_bytes;
    if (pages > pages_max - next) return bad("more memory than pages can be numbered");
    next += pages;
  }
  if (next == 0) return bad("it has no page");
  return {};
}

}  // namespace remus::checkpoint
