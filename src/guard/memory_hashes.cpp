#include "guard/memory_hashes.hpp"

#include <algorithm>

namespace remus::guard {

using checkpoint::page_bytes;
using checkpoint::PageIndex;

void MemoryHashes::add(PageIndex first, std::span<const std::byte> pages) {
  const bool behind = !pieces_.empty() && pieces_.back().first + pieces_.back().hashes.size() == first;
  if (!behind) pieces_.push_back({.first = first});
  auto& hashes = pieces_.back().hashes;
  for (; pages.size() >= page_bytes; pages = pages.subspan(page_bytes))
    hashes.push_back(hasher_(pages.data()));
}

void MemoryHashes::replace(PageIndex first, std::span<const std::byte> pages) {
  for (PageIndex index = first; pages.size() >= page_bytes; ++index, pages = pages.subspan(page_bytes)) {
    auto piece = std::ranges::upper_bound(pieces_, index, {}, &Piece::first);
    if (piece == pieces_.begin()) continue;
    --piece;
    if (index - piece->first < piece->hashes.size())
      piece->hashes[index - piece->first] = hasher_(pages.data());
  }
}

}  // namespace remus::guard
