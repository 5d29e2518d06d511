#include "guard/memory_hashes.hpp"

#include <algorithm>

namespace remus::guard {

void MemoryHashes::add(checkpoint::PageIndex first, std::span<const std::byte> pages) {
  const std::size_t count = pages.size() / checkpoint::page_bytes;
  const auto has_all = [&](const Piece& piece) {
    return piece.first <= first && first - piece.first + count <= piece.hashes.size();
  };
  auto piece = std::ranges::find_if(pieces_, has_all);
  if (piece == pieces_.end()) {
    const bool behind = !pieces_.empty() && pieces_.back().first + pieces_.back().hashes.size() == first;
    if (!behind) pieces_.push_back({.first = first});
    piece = pieces_.end() - 1;
    piece->hashes.resize(piece->hashes.size() + count);
  }
  for (std::size_t i = 0; i < count; ++i)
    piece->hashes[first - piece->first + i] = hasher_(pages.data() + i * checkpoint::page_bytes);
}

}  // namespace remus::guard
