#include "checkpoint/epoch_digest.hpp"

#include "support.hpp"

namespace remus::checkpoint {
namespace {

EpochDigest sample() {
  return {.epoch = 7,
          .pages = 100,
          .batches = 3,
          .batch_bytes = 5000,
          .device_bytes = 99,
          .device_hash = {1, 2},
          .image_hash = {3, 4}};
}

TEST(EpochDigest, RoundTrips) {
  const auto bytes = encode(sample());
  const auto decoded = decode_epoch_digest(bytes);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, sample());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_epoch_digest(std::span{bytes}.first(size)));
  }
}

TEST(EpochDigest, EveryFieldIsCompared) {
  EXPECT_TRUE(complete(sample(), sample()));
  const auto expect_incomplete = [](auto change) {
    auto other = sample();
    change(other);
    const auto compared = complete(sample(), other);
    ASSERT_FALSE(compared);
    EXPECT_EQ(compared.error().kind, Errc::corrupt);
  };
  expect_incomplete([](EpochDigest& d) { ++d.epoch; });
  expect_incomplete([](EpochDigest& d) { ++d.pages; });
  expect_incomplete([](EpochDigest& d) { ++d.batches; });
  expect_incomplete([](EpochDigest& d) { ++d.batch_bytes; });
  expect_incomplete([](EpochDigest& d) { ++d.device_bytes; });
  expect_incomplete([](EpochDigest& d) { ++d.device_hash.high; });

  auto other = sample();
  ++other.image_hash.low;  // known only after the epoch was applied
  EXPECT_TRUE(complete(sample(), other));
  EXPECT_FALSE(exact(sample(), other.image_hash));
  EXPECT_TRUE(exact(sample(), sample().image_hash));
}

TEST(EpochTally, CountsWhatComesIn) {
  const PageHasher hasher{5};
  EpochTally tally{7};
  tally.batch(10, 1000);
  tally.batch(5, 200);
  const std::vector<std::byte> state(333, std::byte{1});
  tally.device_state(state, hasher);
  const EpochDigest expected{.epoch = 7,
                             .pages = 15,
                             .batches = 2,
                             .batch_bytes = 1200,
                             .device_bytes = 333,
                             .device_hash = hasher.of(state)};
  EXPECT_EQ(tally.digest(), expected);
}

}  // namespace
}  // namespace remus::checkpoint
