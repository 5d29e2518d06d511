#include "checkpoint/page_hash.hpp"

#define XXH_STATIC_LINKING_ONLY
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace remus::checkpoint {
namespace {

Hash128 from(const XXH128_hash_t& hash) noexcept {
  return {hash.low64, hash.high64};
}

/// Every bit of the input changes half the bits of the output (the finalizer of MurmurHash3).
std::uint64_t scramble(std::uint64_t value) noexcept {
  value = (value ^ (value >> 33)) * 0xff51afd7ed558ccdULL;
  value = (value ^ (value >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return value ^ (value >> 33);
}

/// Binds a page's hash to its place, so that two pages that changed places do not sum up to the same image.
Hash128 bind(PageIndex index, const Hash128& hash) noexcept {
  const std::uint64_t place = (std::uint64_t{index} + 1) * 0x9e3779b97f4a7c15ULL;
  const std::uint64_t low = scramble(hash.low ^ place);
  return {low, scramble(hash.high + place) ^ (low >> 7)};
}

}  // namespace

PageHasher::PageHasher(std::uint64_t seed) noexcept : seed_{seed} {
  static_assert(secret_bytes == XXH_SECRET_DEFAULT_SIZE);
  XXH3_generateSecret_fromSeed(secret_.data(), seed_);
  static constexpr std::array<std::byte, page_bytes> zeros{};
  zero_page_ = (*this)(zeros.data());
}

Hash128 PageHasher::operator()(const std::byte* page) const noexcept {
  return from(XXH3_128bits_withSecretandSeed(page, page_bytes, secret_.data(), secret_.size(), seed_));
}

Hash128 PageHasher::of(std::span<const std::byte> bytes) const noexcept {
  return from(
      XXH3_128bits_withSecretandSeed(bytes.data(), bytes.size(), secret_.data(), secret_.size(), seed_));
}

void ImageHash::add(PageIndex index, const Hash128& hash) noexcept {
  if (hash == unknown_hash) return;
  const Hash128 term = bind(index, hash);
  sum_.low += term.low;
  sum_.high += term.high + (sum_.low < term.low ? 1 : 0);
}

void ImageHash::subtract(PageIndex index, const Hash128& hash) noexcept {
  if (hash == unknown_hash) return;
  const Hash128 term = bind(index, hash);
  sum_.high -= term.high + (sum_.low < term.low ? 1 : 0);
  sum_.low -= term.low;
}

}  // namespace remus::checkpoint
