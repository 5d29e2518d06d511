#include "checkpoint/hash_range.hpp"

#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Random;

PageHashTable random_table(PageIndex pages, std::uint64_t seed) {
  auto table = PageHashTable::create(pages).value();
  Random random{seed};
  for (PageIndex i = 0; i < pages; ++i) table.set(i, {random(~0ULL), random(~0ULL)});
  return table;
}

TEST(HashRange, AWholeTableCrossesInFrames) {
  const PageIndex pages = 2 * hash_range_pages_max + 77;
  const auto from = random_table(pages, 1);
  auto to = PageHashTable::create(pages).value();
  std::vector<std::byte> bytes;
  int frames = 0;
  for (PageIndex next = 0; next < pages; ++frames) {
    next = encode_hash_range(from, next, bytes);
    ASSERT_LE(bytes.size(), hash_range_bytes_max);
    const auto loaded = load_hash_range(bytes, to);
    ASSERT_TRUE(loaded) << loaded.error().text();
    ASSERT_EQ(*loaded, next);
  }
  EXPECT_EQ(frames, 3);
  EXPECT_EQ(to.image_hash(), from.image_hash());
  EXPECT_TRUE(std::ranges::equal(to.all(), from.all()));
}

TEST(HashRange, DecodesToItself) {
  const auto table = random_table(10, 2);
  std::vector<std::byte> bytes;
  encode_hash_range(4, table.all().subspan(4, 3), bytes);
  EXPECT_EQ(bytes.size(), hash_range_header_bytes + 3 * 16);
  const auto range = decode_hash_range(bytes, 10);
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first, 4U);
  EXPECT_TRUE(std::ranges::equal(range->hashes, table.all().subspan(4, 3)));
}

TEST(HashRange, MalformedIsRefusedAndLoadsNothing) {
  const auto table = random_table(10, 3);
  std::vector<std::byte> good;
  encode_hash_range(2, table.all().first(5), good);
  auto into = PageHashTable::create(10).value();
  const auto expect_corrupt = [&](std::span<const std::byte> bytes) {
    const auto loaded = load_hash_range(bytes, into);
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().kind, Errc::corrupt);
    EXPECT_FALSE(decode_hash_range(bytes, 10));
    EXPECT_EQ(into.image_hash(), Hash128{});
  };
  for (std::size_t size = 0; size < good.size(); ++size) expect_corrupt(std::span{good}.first(size));
  auto bad = good;
  bad.push_back(std::byte{0});
  expect_corrupt(bad);
  for (const std::uint32_t first : {6U, 10U, 0xffffffffU}) {  // reaches past the last page
    bad = good;
    std::memcpy(bad.data(), &first, 4);
    expect_corrupt(bad);
  }
  for (const std::uint32_t count : {0U, 4U, 6U, 0xffffffffU}) {
    bad = good;
    std::memcpy(bad.data() + 4, &count, 4);
    expect_corrupt(bad);
  }
}

}  // namespace
}  // namespace remus::checkpoint
