#include <algorithm>
#include <numeric>

#include "checkpoint/page_hash_table.hpp"
#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Page;
using test::Random;

PageHashTable table_of(PageIndex pages, std::uint64_t seed = 0) {
  return PageHashTable::create(pages, seed).value();
}

TEST(PageHash, EveryBitCounts) {
  const PageHasher hasher{42};
  Page page;
  Random{1}.fill(page);
  const auto before = hasher(page.data());
  for (std::size_t bit = 0; bit < page_bytes * 8; ++bit) {
    page[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_NE(hasher(page.data()), before) << bit;
    page[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  EXPECT_EQ(hasher(page.data()), before);
}

TEST(PageHash, SeedsDiffer) {
  Page page{};
  EXPECT_NE(PageHasher{1}(page.data()), PageHasher{2}(page.data()));
  EXPECT_EQ(PageHasher{1}.zero_page(), PageHasher{1}(page.data()));
  EXPECT_EQ(PageHasher{1}.of(page), PageHasher{1}(page.data()));
}

TEST(PageHash, AlignmentDoesNotMatter) {
  Random random{5};
  std::vector<std::byte> bytes(page_bytes + 64);
  random.fill(bytes);
  const PageHasher hasher{3};
  for (std::size_t shift = 1; shift < 64; ++shift) {
    Page copy;
    std::memcpy(copy.data(), bytes.data() + shift, page_bytes);
    ASSERT_EQ(hasher(bytes.data() + shift), hasher(copy.data()));
  }
}

TEST(ImageHash, OrderOfChangesDoesNotMatter) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    Random random{seed};
    constexpr PageIndex pages = 200;
    std::vector<Hash128> final_hashes(pages);
    for (auto& hash : final_hashes) hash = {random(~0ULL), random(~0ULL)};

    auto one = table_of(pages);
    auto other = table_of(pages);
    for (PageIndex i = 0; i < pages; ++i) one.set(i, final_hashes[i]);
    for (int i = 0; i < 1000; ++i) other.set(static_cast<PageIndex>(random(pages)), {random(9), random(9)});
    std::vector<PageIndex> order(pages);
    std::iota(order.begin(), order.end(), PageIndex{0});
    std::ranges::shuffle(order, std::mt19937_64{seed});
    for (const auto i : order) other.set(i, final_hashes[i]);
    EXPECT_EQ(one.image_hash(), other.image_hash());
  }
}

TEST(ImageHash, PagesThatChangedPlacesDiffer) {
  auto one = table_of(2);
  auto other = table_of(2);
  one.set(0, {1, 2});
  one.set(1, {3, 4});
  other.set(1, {1, 2});
  other.set(0, {3, 4});
  EXPECT_NE(one.image_hash(), other.image_hash());
}

TEST(ImageHash, BothHalvesOfAPageHashCount) {
  auto one = table_of(1);
  auto other = table_of(1);
  one.set(0, {1, 2});
  other.set(0, {1, 3});
  EXPECT_NE(one.image_hash(), other.image_hash());
  other.set(0, {2, 2});
  EXPECT_NE(one.image_hash(), other.image_hash());
}

TEST(PageHashTable, UnknownAtFirstAndAfterForget) {
  auto table = table_of(100);
  EXPECT_EQ(table.get(99), unknown_hash);
  EXPECT_EQ(table.image_hash(), Hash128{});
  table.set(5, {1, 1});
  EXPECT_NE(table.image_hash(), Hash128{});
  table.forget();
  EXPECT_EQ(table.get(5), unknown_hash);
  EXPECT_EQ(table.image_hash(), Hash128{});
}

TEST(PageHashTable, AssumeZeroIsSettingEachToZero) {
  auto one = table_of(300, 11);
  auto other = table_of(300, 11);
  one.assume_zero();
  for (PageIndex i = 0; i < 300; ++i) other.set(i, other.hasher().zero_page());
  EXPECT_EQ(one.image_hash(), other.image_hash());
  EXPECT_EQ(one.get(299), one.hasher().zero_page());
}

TEST(PageHashTable, ReseedForgets) {
  auto table = table_of(10, 1);
  table.assume_zero();
  table.reseed(2);
  EXPECT_EQ(table.get(0), unknown_hash);
  EXPECT_EQ(table.hasher().seed(), 2U);
}

TEST(PageHashTable, MoreThanTheAddressSpaceIsAnError) {
  const auto reserved = Reservation::create(~std::uint64_t{0} - 100, "a test");
  ASSERT_FALSE(reserved);
  EXPECT_EQ(reserved.error().kind, Errc::exhausted);
}

}  // namespace
}  // namespace remus::checkpoint
