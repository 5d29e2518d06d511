// Whether a layout, which may come from the peer, is one that everything here can rely on.
#pragma once

#include "base/error.hpp"
#include "checkpoint/layout.hpp"

namespace remus::checkpoint {

inline constexpr std::size_t layout_blocks_max = 256;

/// Blocks follow one another without gap or overlap, each of whole pages, names 1 to 255 bytes and unique; at
/// least one page and no more than PageIndex can number. Errors: corrupt, names the block.
[[nodiscard]] Status check(const Layout& layout);

}  // namespace remus::checkpoint
