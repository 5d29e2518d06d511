// The bytes docs/page-batch-format.md promises, written out: a change of them needs a new version number.
#include <xxhash.h>

#include "checkpoint/device_codec.hpp"
#include "checkpoint/hash_range.hpp"
#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Page;
using test::Pair;

std::vector<std::byte> bytes_of(std::initializer_list<unsigned> values) {
  std::vector<std::byte> out;
  for (const auto value : values) out.push_back(static_cast<std::byte>(value));
  return out;
}

TEST(Format, PageBatch) {
  Pair pair{test::two_blocks(100, 1), 8, {.compression = Compression::none}};
  pair.both_fresh();
  const auto page = pair.guest.page(pair.layout, 70);
  page[4095] = std::byte{1};
  pair.add(70);  // delta against zero
  page[4095] = std::byte{0};
  pair.add(70);  // zero again
  pair.encoder.flush(pair.out);
  // Steps +70 and -1; zigzag 140 and 1.
  EXPECT_EQ(pair.out.batches.at(0),
            bytes_of({1,    0,    0,  0, 2, 0, 0, 0, 16, 0, 0, 0,                       //
                      0xb2, 0x04, 11, 0, 0, 0, 0, 0, 0,  0, 0, 0x80, 0x80, 0x80, 0x01,  //
                      0x04}));
}

TEST(Format, RawRecord) {
  Pair pair{test::two_blocks(2, 1), 8, {.compression = Compression::none}};
  std::ranges::fill(pair.guest.page(pair.layout, 0), std::byte{0xab});
  pair.add(0);
  pair.encoder.flush(pair.out);
  auto expected = bytes_of({1, 0, 0, 0, 1, 0, 0, 0, 0x01, 0x10, 0, 0, 0x01});
  expected.resize(expected.size() + page_bytes, std::byte{0xab});
  EXPECT_EQ(pair.out.batches.at(0), expected);
}

TEST(Format, DeviceState) {
  DeviceEncoder encoder;
  std::vector<std::byte> packed;
  ASSERT_TRUE(encoder.encode(bytes_of({7, 8, 9}), packed));
  EXPECT_EQ(packed, bytes_of({1, 0, 0, 0, 3, 0, 0, 0, 7, 8, 9}));
}

TEST(Format, PageHashIsSeededXxh3) {
  Page page;
  test::Random{1}.fill(page);
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
    const PageHasher hasher{seed};
    for (const std::size_t size : std::initializer_list<std::size_t>{0, 5, 100, 240, 241, page_bytes}) {
      const auto expected = XXH3_128bits_withSeed(page.data(), size, seed);
      EXPECT_EQ(hasher.of(std::span{page}.first(size)), (Hash128{expected.low64, expected.high64})) << size;
    }
    EXPECT_EQ(hasher(page.data()), hasher.of(page));
  }
}

TEST(Format, ImageHash) {
  // By the formula of the document, computed apart from the code.
  ImageHash image;
  image.add(0, {1, 2});
  EXPECT_EQ(image.value(), (Hash128{0x25b775faeca8f520ULL, 0xf8bc0db84301262fULL}));
  image.add(4294967295U, {0xffffffffffffffffULL, 3});
  EXPECT_EQ(image.value(), (Hash128{0xeb69c9345b2c1a08ULL, 0x4a8ccd194bcf9ee2ULL}));
}

TEST(Format, HashRangeAndDigest) {
  auto table = PageHashTable::create(10).value();
  table.set(6, {0x0807060504030201ULL, 0x100f0e0d0c0b0a09ULL});
  std::vector<std::byte> range;
  encode_hash_range(6, table.all().subspan(6, 1), range);
  EXPECT_EQ(range, bytes_of({6, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));

  const auto digest = encode(EpochDigest{.epoch = 1,
                                         .pages = 2,
                                         .batches = 3,
                                         .batch_bytes = 4,
                                         .device_bytes = 5,
                                         .device_hash = {6, 7},
                                         .image_hash = {8, 9}});
  for (std::size_t i = 0; i < digest.size(); ++i) {
    EXPECT_EQ(digest[i], static_cast<std::byte>(i % 8 == 0 ? i / 8 + 1 : 0)) << i;
  }
}

}  // namespace
}  // namespace remus::checkpoint
