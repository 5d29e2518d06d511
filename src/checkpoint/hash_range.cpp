#include "checkpoint/hash_range.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/assert.hpp"
#include "checkpoint/wire.hpp"

namespace remus::checkpoint {
namespace {

struct Extent {
  PageIndex first{};
  PageIndex count{};
};

Result<Extent> check_range(std::span<const std::byte> bytes, PageIndex pages) {
  if (bytes.size() < hash_range_header_bytes) return fail(Errc::corrupt, "page hashes: cut off");
  const Extent extent{wire::load<std::uint32_t>(bytes.data()), wire::load<std::uint32_t>(bytes.data() + 4)};
  if (extent.count == 0 || extent.count > hash_range_pages_max ||
      bytes.size() != hash_range_header_bytes + sizeof(Hash128) * extent.count) {
    return fail(Errc::corrupt,
                fmt::format("page hashes: {} announced in {} bytes", extent.count, bytes.size()));
  }
  if (extent.first >= pages || extent.count > pages - extent.first) {
    return fail(Errc::corrupt, fmt::format("page hashes: {} from page {} on, but the guest has {} pages",
                                           extent.count, extent.first, pages));
  }
  return extent;
}

}  // namespace

void encode_hash_range(PageIndex first, std::span<const Hash128> hashes, std::vector<std::byte>& out) {
  REMUS_ASSERT("pre", !hashes.empty() && hashes.size() <= hash_range_pages_max,
               "a hash range fits one frame");
  out.resize(hash_range_header_bytes + hashes.size_bytes());
  wire::store(out.data(), first);
  wire::store(out.data() + 4, static_cast<std::uint32_t>(hashes.size()));
  std::memcpy(out.data() + hash_range_header_bytes, hashes.data(), hashes.size_bytes());
}

PageIndex encode_hash_range(const PageHashTable& table, PageIndex first, std::vector<std::byte>& out) {
  REMUS_ASSERT("pre", first < table.pages(), "a hash range begins within the table");
  const PageIndex count = std::min(hash_range_pages_max, table.pages() - first);
  encode_hash_range(first, table.all().subspan(first, count), out);
  return first + count;
}

Result<HashRange> decode_hash_range(std::span<const std::byte> bytes, PageIndex pages) {
  const auto extent = check_range(bytes, pages);
  if (!extent) return std::unexpected(extent.error());
  HashRange range{extent->first, std::vector<Hash128>(extent->count)};
  std::memcpy(range.hashes.data(), bytes.data() + hash_range_header_bytes, sizeof(Hash128) * extent->count);
  return range;
}

Result<PageIndex> load_hash_range(std::span<const std::byte> bytes, PageHashTable& table) {
  const auto extent = check_range(bytes, table.pages());
  if (!extent) return std::unexpected(extent.error());
  const std::byte* at = bytes.data() + hash_range_header_bytes;
  for (PageIndex i = 0; i < extent->count; ++i, at += sizeof(Hash128)) {
    table.set(extent->first + i, wire::load<Hash128>(at));
  }
  return extent->first + extent->count;
}

}  // namespace remus::checkpoint
