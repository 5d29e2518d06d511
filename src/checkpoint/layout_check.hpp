// Whether a layout, which may come from the peer, is one that everything here can rely on.
#pragma once

#include "base/error.hpp"
#include "checkpoint/layout.hpp"

namespace remus::checkpoint {

/// Blocks follow one another without gap or overlap, each of whole pages, names 1 to 255 bytes and unique; at
/// least one page and no more than PageIndex can number. Errors: corrupt, names the block; unsupported: more than
/// layout_blocks_max blocks, or more pages than can be numbered.
[[nodiscard]] Status check(const Layout& layout);

}  // namespace remus::checkpoint
