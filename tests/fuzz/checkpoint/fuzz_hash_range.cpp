// Page hashes and epoch digests of any bytes: refused, or read and written back as the same bytes.
#include <algorithm>
#include <vector>

#include "check.hpp"
#include "checkpoint/epoch_digest.hpp"
#include "checkpoint/hash_range.hpp"

using namespace remus;
using namespace remus::checkpoint;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr PageIndex pages = 64;
  const std::vector<std::byte> bytes(std::as_bytes(std::span{data, size}).begin(),
                                     std::as_bytes(std::span{data, size}).end());
  static PageHashTable table = PageHashTable::create(pages).value();
  table.forget();

  const auto range = decode_hash_range(bytes, pages);
  const auto next = load_hash_range(bytes, table);
  FUZZ_CHECK(range.has_value() == next.has_value());
  if (range) {
    FUZZ_CHECK(*next == range->first + range->hashes.size());
    std::vector<std::byte> again;
    encode_hash_range(range->first, table.all().subspan(range->first, range->hashes.size()), again);
    FUZZ_CHECK(again == bytes);
  } else {
    FUZZ_CHECK(table.image_hash() == Hash128{});
  }

  if (const auto digest = decode_epoch_digest(bytes); digest) {
    FUZZ_CHECK(std::ranges::equal(encode(*digest), bytes));
  }
  return 0;
}
