// Hashes of consecutive pages as bytes, for one frame: the backup's offer after a break, and `remus verify`.
//
//   u32 first page | u32 count | count × (u64 low, u64 high)        little-endian
#pragma once

#include <vector>

#include "base/error.hpp"
#include "checkpoint/page_hash_table.hpp"

namespace remus::checkpoint {

inline constexpr PageIndex hash_range_pages_max = 8192;
inline constexpr std::size_t hash_range_header_bytes = 8;
inline constexpr std::size_t hash_range_bytes_max = hash_range_header_bytes + 16UL * hash_range_pages_max;

struct HashRange {
  PageIndex first{};
  std::vector<Hash128> hashes{};
};

/// Replaces `out` with the encoding. Precondition: at most hash_range_pages_max hashes.
void encode_hash_range(PageIndex first, std::span<const Hash128> hashes, std::vector<std::byte>& out);
/// The range of `table` from `first` on, as long as fits; returns the page after it (== table.pages() at the
/// end).
PageIndex encode_hash_range(const PageHashTable& table, PageIndex first, std::vector<std::byte>& out);
/// Errors: corrupt, unless `bytes` is exactly one range within `pages` pages.
[[nodiscard]] Result<HashRange> decode_hash_range(std::span<const std::byte> bytes, PageIndex pages);
/// Decodes straight into `table` (the primary taking an offer). Returns the page after the range. Errors:
/// corrupt; the table is then unchanged.
[[nodiscard]] Result<PageIndex> load_hash_range(std::span<const std::byte> bytes, PageHashTable& table);

}  // namespace remus::checkpoint
