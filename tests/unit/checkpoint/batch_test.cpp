#include "base/assert.hpp"
#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Page;
using test::Pair;
using test::Random;

/// What a guest does to a page between two epochs.
void change(Random& random, std::span<std::byte> page) {
  switch (random(7)) {
    case 0: random.fill(page); break;
    case 1: random.fill_text(page); break;
    case 2: std::ranges::fill(page, std::byte{0}); break;
    case 3: break;  // written with what it held
    case 4: random.touch(page, 100 + random(300)); break;
    default: random.touch(page, 1 + random(20));
  }
}

struct Case {
  Compression compression;
  bool delta;
  std::size_t cache_pages;
};

class BatchRoundTrip : public ::testing::TestWithParam<Case> {};

TEST_P(BatchRoundTrip, ImageIsTheGuestAfterEachEpoch) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    Random random{seed};
    const auto [compression, delta, cache_pages] = GetParam();
    Pair pair{test::two_blocks(400, 50), cache_pages, {.compression = compression, .delta = delta}, seed};
    if (random(2) == 0) pair.both_fresh();
    // Epoch 0: each page once.
    for (PageIndex i = 0; i < pair.layout.pages(); ++i) {
      change(random, pair.guest.page(pair.layout, i));
      pair.add(i);
    }
    pair.deliver();
    ASSERT_EQ(pair.guest, pair.copy);
    for (int epoch = 1; epoch < 10; ++epoch) {
      SCOPED_TRACE(epoch);
      for (auto dirty = random(600); dirty > 0; --dirty) {  // some pages more than once
        const auto index = static_cast<PageIndex>(random(pair.layout.pages()));
        const auto page = pair.guest.page(pair.layout, index);
        change(random, page);
        const bool zero = std::ranges::all_of(page, [](std::byte b) { return b == std::byte{0}; });
        if (zero && random(2) == 0) {
          pair.encoder.add_zero(index, pair.out);
        } else {
          pair.add(index);
        }
      }
      pair.deliver();
      ASSERT_EQ(pair.guest, pair.copy);
      ASSERT_EQ(pair.table.image_hash(), pair.image.hash());
      pair.image.recompute();
      ASSERT_EQ(pair.table.image_hash(), pair.image.hash());
    }
    const auto& stats = pair.encoder.stats();
    EXPECT_EQ(stats.pages, stats.same + stats.records());
    EXPECT_GT(stats.zero, 0U);
    EXPECT_GT(stats.raw, 0U);
    EXPECT_GT(stats.same, 0U);
    EXPECT_EQ(stats.delta > 0, delta);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Settings, BatchRoundTrip,
    ::testing::Values(Case{Compression::automatic, true, 1000}, Case{Compression::none, true, 1000},
                      Case{Compression::lz4, true, 100}, Case{Compression::zstd, true, 8},
                      Case{Compression::automatic, true, 0}, Case{Compression::lz4, false, 1000}));

class BatchForm : public ::testing::Test {
 protected:
  /// What the encoder did with page 0 as it is now.
  EncoderStats encode_page() {
    const auto before = pair.encoder.stats();
    pair.add(0);
    pair.deliver();
    EXPECT_EQ(pair.guest, pair.copy);
    return pair.encoder.stats() - before;
  }
  std::span<std::byte> page() { return pair.guest.page(pair.layout, 0); }

  Random random{1};
  Pair pair{test::two_blocks(16, 1)};
};

TEST_F(BatchForm, FirstSeenIsRaw) {
  random.fill(page());
  EXPECT_EQ(encode_page().raw, 1U);
}

TEST_F(BatchForm, UnchangedIsLeftOut) {
  random.fill(page());
  encode_page();
  const auto stats = encode_page();
  EXPECT_EQ(stats.same, 1U);
  EXPECT_EQ(stats.out_bytes, 0U);
}

TEST_F(BatchForm, UnchangedIsLeftOutWithoutTheCacheToo) {
  random.fill(page());
  encode_page();
  pair.cache.clear();
  EXPECT_EQ(encode_page().same, 1U);
  // It is cached again, so that the next change goes as a delta.
  random.touch(page(), 3);
  EXPECT_EQ(encode_page().delta, 1U);
}

TEST_F(BatchForm, LittleChangedIsADelta) {
  random.fill(page());
  encode_page();
  random.touch(page(), 3);
  const auto stats = encode_page();
  EXPECT_EQ(stats.delta, 1U);
  EXPECT_LT(stats.out_bytes, 100U);
}

TEST_F(BatchForm, ZeroIsFoundThoughGivenAsContent) {
  random.fill(page());
  encode_page();
  std::ranges::fill(page(), std::byte{0});
  const auto stats = encode_page();
  EXPECT_EQ(stats.zero, 1U);
  EXPECT_LT(stats.out_bytes, 20U);
}

TEST_F(BatchForm, NextToAZeroPageADeltaNeedsNoCache) {
  pair.both_fresh();
  pair.cache.clear();
  random.touch(page(), 5);
  EXPECT_EQ(encode_page().delta, 1U);
}

TEST_F(BatchForm, AfterZeroTheOldContentIsNoReference) {
  random.fill(page());
  encode_page();
  pair.encoder.add_zero(0, pair.out);
  std::ranges::fill(page(), std::byte{0});
  pair.deliver();
  random.touch(page(), 2);
  EXPECT_EQ(encode_page().delta, 1U);
}

TEST_F(BatchForm, AllChangedIsRawAgain) {
  random.fill(page());
  encode_page();
  random.fill(page());
  EXPECT_EQ(encode_page().raw, 1U);
}

TEST_F(BatchForm, TextThatChangedMuchPacksBetterThanItsDifference) {
  random.fill(page());
  encode_page();
  random.touch(page(), 250);  // half of the page: a large delta, but what it became cannot be packed
  EXPECT_EQ(encode_page().delta, 1U);
  random.fill(page());
  encode_page();
  std::ranges::fill(page().first(2800),
                    std::byte{'x'});  // a large delta from noise, but easily packed itself
  random.fill_text(page().subspan(2800));
  for (std::size_t i = 0; i < page_bytes; i += 2) page()[i] = std::byte{'y'};
  EXPECT_EQ(encode_page().raw, 1U);
}

TEST(Batch, ANewSessionOwesNothingToTheOld) {
  Random random{2};
  Pair pair{test::two_blocks(64, 8)};
  for (PageIndex i = 0; i < pair.layout.pages(); ++i) {
    random.fill(pair.guest.page(pair.layout, i));
    pair.add(i);
  }
  pair.deliver();

  // An epoch is encoded but lost with the link; a part of the next is under way.
  for (PageIndex i = 0; i < 40; ++i) {
    random.touch(pair.guest.page(pair.layout, i), 3);
    pair.add(i);
  }
  pair.encoder.flush(pair.out);
  for (PageIndex i = 30; i < 50; ++i) {
    random.touch(pair.guest.page(pair.layout, i), 3);
    pair.add(i);
  }
  pair.out.batches.clear();

  // The backup offers what it holds; the guest is synchronized again: only what differs crosses.
  pair.encoder.new_session();
  for (PageIndex i = 0; i < pair.layout.pages(); ++i) pair.table.set(i, pair.image.table().get(i));
  const auto before = pair.encoder.stats();
  for (PageIndex i = 0; i < pair.layout.pages(); ++i) pair.add(i);
  pair.deliver();
  EXPECT_EQ(pair.guest, pair.copy);
  EXPECT_EQ(pair.table.image_hash(), pair.image.hash());
  EXPECT_EQ((pair.encoder.stats() - before).same, pair.layout.pages() - 50);
}

TEST(Batch, BatchesAreBounded) {
  Pair pair{test::two_blocks(20000, 1), 0, {.compression = Compression::none}};
  Random random{3};
  for (PageIndex i = 0; i < 200; ++i) {
    random.fill(pair.guest.page(pair.layout, i));
    pair.add(i);
  }
  for (PageIndex i = 200; i < 20001; ++i) pair.encoder.add_zero(i, pair.out);
  pair.encoder.flush(pair.out);
  std::uint64_t records = 0;
  for (const auto& batch : pair.out.batches) {
    EXPECT_LE(batch.size(), batch_payload_bytes_max);
    const auto summary = pair.decoder.validate(batch);
    ASSERT_TRUE(summary) << summary.error().text();
    EXPECT_LE(summary->records, batch_records_max);
    records += summary->records;
  }
  EXPECT_EQ(records, 20001U);
  pair.deliver();
  EXPECT_EQ(pair.guest, pair.copy);
}

TEST(Batch, PagesInAnyOrder) {
  Pair pair{test::two_blocks(1000, 1)};
  Random random{4};
  for (const PageIndex i : {1000U, 0U, 999U, 5U, 5U, 4U, 1000U}) {
    random.fill(pair.guest.page(pair.layout, i));
    pair.add(i);
  }
  pair.deliver();
  EXPECT_EQ(pair.guest, pair.copy);
}

TEST(Batch, NothingToSayIsNoBatch) {
  Pair pair{test::two_blocks(10, 1)};
  pair.both_fresh();
  pair.add(3);
  pair.encoder.add_zero(4, pair.out);
  pair.encoder.flush(pair.out);
  EXPECT_TRUE(pair.out.batches.empty());
}

TEST(Batch, DamageInTheImageShowsInItsHash) {
  Pair pair{test::two_blocks(10, 1)};
  pair.both_fresh();
  Random random{5};
  random.fill(pair.guest.page(pair.layout, 2));
  pair.add(2);
  pair.deliver();
  EXPECT_EQ(pair.table.image_hash(), pair.image.hash());
  pair.copy.page(pair.layout, 2)[100] ^= std::byte{1};
  random.touch(pair.guest.page(pair.layout, 2), 1);
  pair.add(2);  // a delta against what the backup should hold
  pair.deliver();
  EXPECT_NE(pair.table.image_hash(), pair.image.hash());
  EXPECT_EQ(pair.image.differing(pair.table, 10), std::vector<PageIndex>{2});
}

TEST(Batch, PageOutsideTheLayoutIsABrokenPrecondition) {
  set_assert_handler(&test::throw_violation);
  Pair pair{test::two_blocks(10, 1)};
  const Page page{};
  EXPECT_THROW(pair.encoder.add(11, page.data(), pair.out), test::Violation);
  EXPECT_THROW(pair.encoder.add_zero(11, pair.out), test::Violation);
  set_assert_handler(nullptr);
}

}  // namespace
}  // namespace remus::checkpoint
