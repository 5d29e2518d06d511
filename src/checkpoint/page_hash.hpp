// What a page's content is known by: 128 bits of XXH3.
//
// Both sides name page contents by hash: the primary to leave out what the backup holds already, the backup
// to offer what it holds after a break, both to prove that the copy is exact. Chance collisions do not happen
// at 128 bits. XXH3 is no cryptographic hash, so a session hashes with a random seed of its own, told in the
// handshake, and nobody who can only place data in the guest can prepare two pages that are taken for one.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "checkpoint/layout.hpp"

namespace remus::checkpoint {

struct Hash128 {
  std::uint64_t low{};
  std::uint64_t high{};
  bool operator==(const Hash128&) const = default;
};

/// Content not known. No page hashes to it (a page that would is treated as unknown, and sent).
inline constexpr Hash128 unknown_hash{};

// On the wire hashes stand as they do in memory.
static_assert(sizeof(Hash128) == 16 && std::endian::native == std::endian::little);

/// The one at `index` of hashes that stand one behind the other, at any alignment.
[[nodiscard]] inline Hash128 hash_at(std::span<const std::byte> bytes, std::size_t index = 0) noexcept {
  Hash128 hash;
  std::memcpy(&hash, bytes.data() + index * sizeof hash, sizeof hash);
  return hash;
}

class PageHasher final {
 public:
  explicit PageHasher(std::uint64_t seed = 0) noexcept;

  /// Of page_bytes bytes at `page`.
  [[nodiscard]] Hash128 operator()(const std::byte* page) const noexcept;
  /// Of any bytes: device state, files.
  [[nodiscard]] Hash128 of(std::span<const std::byte> bytes) const noexcept;
  [[nodiscard]] const Hash128& zero_page() const noexcept { return zero_page_; }
  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }

 private:
  static constexpr std::size_t secret_bytes = 192;

  std::uint64_t seed_;
  std::array<std::byte, secret_bytes> secret_{};
  Hash128 zero_page_{};
};

/// The hash of a whole image: the wrapping sum over all pages of a mix of page index and page hash. Whatever
/// the order in which pages changed, equal images have equal sums, and one page's change costs O(1). Unknown
/// pages add nothing.
class ImageHash final {
 public:
  void replace(PageIndex index, const Hash128& before, const Hash128& after) noexcept {
    subtract(index, before);
    add(index, after);
  }
  void add(PageIndex index, const Hash128& hash) noexcept;
  void subtract(PageIndex index, const Hash128& hash) noexcept;
  [[nodiscard]] const Hash128& value() const noexcept { return sum_; }

 private:
  Hash128 sum_{};
};

}  // namespace remus::checkpoint
