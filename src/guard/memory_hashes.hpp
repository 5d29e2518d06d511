// The hashes of some of a guest's memory at one moment, for `remus verify`: of what the hypervisor could read, in
// the pieces it was read in.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "checkpoint/layout.hpp"
#include "checkpoint/page_hash.hpp"

namespace remus::guard {

class MemoryHashes final {
 public:
  /// Pages [first, first + hashes.size()); pieces are in ascending order and do not overlap.
  struct Piece {
    checkpoint::PageIndex first{};
    std::vector<checkpoint::Hash128> hashes{};
  };

  explicit MemoryHashes(std::uint64_t seed) noexcept : hasher_{seed} {}

  /// Whole pages from page `first` on, behind all that was read before.
  void add(checkpoint::PageIndex first, std::span<const std::byte> pages);
  /// Pages that were written after they were read; of those that were not read nothing is kept.
  void replace(checkpoint::PageIndex first, std::span<const std::byte> pages);
  [[nodiscard]] const std::vector<Piece>& pieces() const noexcept { return pieces_; }
  void clear() noexcept { pieces_.clear(); }

 private:
  checkpoint::PageHasher hasher_;
  std::vector<Piece> pieces_{};
};

}  // namespace remus::guard
