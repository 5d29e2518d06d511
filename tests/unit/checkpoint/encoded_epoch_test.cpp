#include "checkpoint/encoded_epoch.hpp"

#include "checkpoint/device_codec.hpp"
#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Pair;
using test::Random;

TEST(EncodedEpoch, WholeEpochFromBufferToExactImage) {
  // All pages random and nothing packed: the largest an epoch can be.
  Pair pair{test::two_blocks(300, 20), 64, {.compression = Compression::none}};
  Random random{1};
  auto buffer = EpochBuffer::create(pair.layout).value();
  auto sent = EncodedEpoch::create(pair.layout, 0).value();
  auto received = EncodedEpoch::create(pair.layout, 0).value();
  DeviceEncoder device_encoder;
  DeviceDecoder device_decoder;
  pair.both_fresh();

  for (Epoch epoch = 1; epoch <= 5; ++epoch) {
    SCOPED_TRACE(epoch);
    buffer->recycle(epoch);
    buffer->paused();
    for (PageIndex i = 0; i < pair.layout.pages(); ++i) {
      random.fill(pair.guest.page(pair.layout, i));
      auto space = buffer->space(page_bytes);
      std::memcpy(space.data(), pair.guest.page(pair.layout, i).data(), page_bytes);
      buffer->advance(page_bytes);
      buffer->page(i, space.data());
    }
    auto space = buffer->space(5000);
    random.fill(space.first(5000));
    buffer->device_state(space.first(5000));
    buffer->advance(5000);

    // Primary.
    sent->recycle();
    EXPECT_EQ(sent->batches(), 0U);
    ASSERT_TRUE(encode_epoch(*buffer, pair.encoder, device_encoder, *sent));
    EXPECT_GT(sent->batches(), 4U);
    EXPECT_EQ(sent->digest().batch_bytes, sent->batch_bytes());

    // Backup: count what comes, compare, apply, compare.
    received->recycle();
    EpochTally tally{epoch};
    for (std::size_t i = 0; i < sent->batches(); ++i) {
      const auto summary = pair.decoder.validate(sent->batch(i));
      ASSERT_TRUE(summary);
      tally.batch(summary->records, sent->batch(i).size());
      ASSERT_TRUE(received->append(sent->batch(i)));
    }
    const auto state = device_decoder.decode(sent->device_state());
    ASSERT_TRUE(state);
    tally.device_state(*state, pair.image.table().hasher());
    const auto whole = complete(sent->digest(), tally.digest());
    ASSERT_TRUE(whole) << whole.error().text();
    EXPECT_FALSE(exact(sent->digest(), pair.image.hash()));
    for (std::size_t i = 0; i < received->batches(); ++i) {
      ASSERT_TRUE(pair.decoder.apply(received->batch(i), pair.image));
    }
    EXPECT_TRUE(exact(sent->digest(), pair.image.hash()));
    EXPECT_EQ(pair.guest, pair.copy);
  }
}

TEST(EncodedEpoch, AppendIsBounded) {
  auto epoch = EncodedEpoch::create(test::two_blocks(10, 10)).value();
  const std::vector<std::byte> batch(batch_payload_bytes_max, std::byte{1});
  EXPECT_FALSE(epoch->append(std::vector<std::byte>(batch_payload_bytes_max + 1)));
  int fitted = 0;
  while (fitted < 100 && epoch->append(batch)) ++fitted;
  EXPECT_GE(fitted, 1);
  EXPECT_LT(fitted, 100);
  EXPECT_EQ(epoch->batch_bytes(), static_cast<std::size_t>(fitted) * batch.size());
  EXPECT_TRUE(std::ranges::equal(epoch->batch(0), batch));
}

}  // namespace
}  // namespace remus::checkpoint
