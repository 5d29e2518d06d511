// Which parts of a disk were written since the other side last had everything, without remembering when each of them was.
//
// A bit per region in two windows. Writes set bits in the newer one. Once everything that was written before the newer
// one began is known to survive on the other side, the older one is dropped and the newer one takes its place:
//
//   writes ──▶ newer ── (older survives) ──▶ older ── (survives) ──▶ clean
//
// So a region stays dirty for at most two rounds too long, and is never clean too early.
#pragma once

#include <cstdint>
#include <vector>

namespace remus::disk {

class WindowBitmap final {
 public:
  WindowBitmap(std::uint64_t disk_bytes, std::uint64_t region_bytes)
      : region_bytes_{region_bytes},
        regions_{(disk_bytes + region_bytes - 1) / region_bytes},
        newer_((regions_ + 63) / 64),
        older_((regions_ + 63) / 64) {}

  [[nodiscard]] std::uint64_t regions() const noexcept { return regions_; }
  [[nodiscard]] std::uint64_t region_bytes() const noexcept { return region_bytes_; }
  [[nodiscard]] std::uint64_t first(std::uint64_t offset) const noexcept { return offset / region_bytes_; }
  [[nodiscard]] std::uint64_t last(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    return (offset + bytes - 1) / region_bytes_;
  }

  [[nodiscard]] bool dirty(std::uint64_t region) const noexcept {
    return ((newer_[region / 64] | older_[region / 64]) >> region % 64 & 1U) != 0;
  }
  void set(std::uint64_t region) noexcept { newer_[region / 64] |= std::uint64_t{1} << region % 64; }
  /// Calls visitor(word, bits) for every 64 regions that have bits which become clean.
  template <typename Visitor>
  void turn(Visitor&& visitor) {
    for (std::uint64_t word = 0; word < older_.size(); ++word) {
      const std::uint64_t cleaned = older_[word] & ~newer_[word];
      if (cleaned != 0) visitor(word, cleaned);
      older_[word] = newer_[word];
      newer_[word] = 0;
    }
  }

 private:
  std::uint64_t region_bytes_;
  std::uint64_t regions_;
  std::vector<std::uint64_t> newer_;
  std::vector<std::uint64_t> older_;
};

}  // namespace remus::disk
