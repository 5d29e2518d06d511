#include "checkpoint/page_cache.hpp"

#include <map>

#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Page;
using test::Random;

PageCache cache_of(std::size_t pages) {
  return PageCache::create(pages).value();
}

Page page_of(std::uint64_t value) {
  Page page;
  Random{value}.fill(page);
  return page;
}

TEST(PageCache, GivesBackWhatWasStored) {
  auto cache = cache_of(64);
  const Page page = page_of(1);
  EXPECT_EQ(cache.lookup(17), nullptr);
  cache.store(17, page.data());
  const std::byte* found = cache.lookup(17);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(std::memcmp(found, page.data(), page_bytes), 0);
  const Page newer = page_of(2);
  cache.store(17, newer.data());
  EXPECT_EQ(std::memcmp(cache.lookup(17), newer.data(), page_bytes), 0);
}

TEST(PageCache, PageZeroIsNotTakenForEmpty) {
  auto cache = cache_of(8);
  EXPECT_EQ(cache.lookup(0), nullptr);
  cache.store(0, page_of(3).data());
  EXPECT_NE(cache.lookup(0), nullptr);
  cache.drop(0);
  EXPECT_EQ(cache.lookup(0), nullptr);
}

TEST(PageCache, EvictsTheLeastRecentlyUsedOfASet) {
  auto cache = cache_of(8);  // one set
  ASSERT_EQ(cache.capacity_pages(), 8U);
  for (PageIndex i = 0; i < 8; ++i) cache.store(i, page_of(i).data());
  ASSERT_NE(cache.lookup(0), nullptr);  // now 1 is the oldest
  cache.store(100, page_of(100).data());
  EXPECT_EQ(cache.lookup(1), nullptr);
  for (const PageIndex i : {0U, 2U, 3U, 4U, 5U, 6U, 7U, 100U}) EXPECT_NE(cache.lookup(i), nullptr) << i;
}

TEST(PageCache, DroppedWayIsUsedFirst) {
  auto cache = cache_of(8);
  for (PageIndex i = 0; i < 8; ++i) cache.store(i, page_of(i).data());
  cache.drop(6);
  cache.store(100, page_of(100).data());
  EXPECT_EQ(cache.lookup(6), nullptr);
  EXPECT_NE(cache.lookup(0), nullptr);
}

TEST(PageCache, NeverGivesAnotherPagesContent) {
  auto cache = cache_of(64);
  std::map<PageIndex, std::uint64_t> stored;
  Random random{9};
  std::size_t hits = 0;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const auto index = static_cast<PageIndex>(random(200));
    if (const std::byte* found = cache.lookup(index); found != nullptr) {
      ++hits;
      ASSERT_TRUE(stored.contains(index));
      ASSERT_EQ(std::memcmp(found, page_of(stored[index]).data(), page_bytes), 0);
    }
    if (random(10) == 0) {
      cache.drop(index);
    } else {
      stored[index] = i;
      cache.store(index, page_of(i).data());
    }
  }
  EXPECT_GT(hits, 500U);
}

TEST(PageCache, WithoutCapacityEverythingMisses) {
  auto cache = cache_of(0);
  cache.store(1, page_of(1).data());
  cache.drop(1);
  EXPECT_EQ(cache.lookup(1), nullptr);
}

TEST(PageCache, ClearForgetsAll) {
  auto cache = cache_of(32);
  for (PageIndex i = 0; i < 32; ++i) cache.store(i, page_of(i).data());
  cache.clear();
  for (PageIndex i = 0; i < 32; ++i) EXPECT_EQ(cache.lookup(i), nullptr);
}

}  // namespace
}  // namespace remus::checkpoint
