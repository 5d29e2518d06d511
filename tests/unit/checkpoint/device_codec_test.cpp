#include "checkpoint/device_codec.hpp"

#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Random;

std::vector<std::byte> state_of(std::uint64_t seed, std::size_t bytes) {
  std::vector<std::byte> state(bytes);
  Random{seed}.fill(state);
  return state;
}

void expect_equal(const Result<std::span<const std::byte>>& got, const std::vector<std::byte>& expected) {
  ASSERT_TRUE(got) << got.error().text();
  EXPECT_TRUE(std::ranges::equal(*got, expected));
}

TEST(DeviceCodec, RoundTripsAndLeavesOutWhatStayed) {
  DeviceEncoder encoder;
  DeviceDecoder decoder;
  Random random{1};
  auto state = state_of(2, 150'000);
  std::vector<std::byte> packed;
  for (int epoch = 0; epoch < 50; ++epoch) {
    ASSERT_TRUE(encoder.encode(state, packed));
    if (epoch > 0) {
      EXPECT_LT(packed.size(), 5000U) << epoch;  // though it is random bytes
    }
    expect_equal(decoder.decode(packed), state);
    random.touch(state, 50);
    if (epoch % 10 == 9) state.insert(state.begin() + 1000, 17, std::byte{9});  // the rest moves
  }
}

TEST(DeviceCodec, EmptyAndTinyStates) {
  DeviceEncoder encoder;
  DeviceDecoder decoder;
  std::vector<std::byte> packed;
  for (const std::size_t bytes : {0UL, 1UL, 0UL, 7UL, 300UL, 2UL}) {
    const auto state = state_of(bytes, bytes);
    ASSERT_TRUE(encoder.encode(state, packed));
    EXPECT_LE(packed.size(), device_header_bytes + bytes);
    expect_equal(decoder.decode(packed), state);
  }
}

TEST(DeviceCodec, LargeStatesFindTheirPredecessor) {
  DeviceEncoder encoder;
  DeviceDecoder decoder;
  auto state = state_of(3, 20UL << 20);
  std::vector<std::byte> packed;
  ASSERT_TRUE(encoder.encode(state, packed));
  expect_equal(decoder.decode(packed), state);
  state[5'000'000] ^= std::byte{1};
  ASSERT_TRUE(encoder.encode(state, packed));
  EXPECT_LT(packed.size(), state.size() / 10);
  expect_equal(decoder.decode(packed), state);
}

TEST(DeviceCodec, TooLargeIsRefused) {
  DeviceEncoder encoder;
  std::vector<std::byte> packed;
  const auto encoded = encoder.encode(std::vector<std::byte>(device_state_bytes_max + 1), packed);
  ASSERT_FALSE(encoded);
  EXPECT_EQ(encoded.error().kind, Errc::exhausted);
}

TEST(DeviceCodec, ANewSessionStartsAnew) {
  DeviceEncoder encoder;
  DeviceDecoder decoder;
  const auto state = state_of(4, 10'000);
  std::vector<std::byte> packed;
  ASSERT_TRUE(encoder.encode(state, packed));
  ASSERT_TRUE(encoder.encode(state, packed));
  const auto without_previous = decoder.decode(packed);
  ASSERT_FALSE(without_previous);
  EXPECT_EQ(without_previous.error().kind, Errc::corrupt);
  encoder.reset();
  ASSERT_TRUE(encoder.encode(state, packed));
  expect_equal(decoder.decode(packed), state);
}

TEST(DeviceCodec, DamagedBytesNeverHarm) {
  DeviceEncoder encoder;
  auto state = state_of(5, 2000);
  std::fill(state.begin() + 500, state.end(), std::byte{7});
  std::vector<std::byte> first;
  std::vector<std::byte> second;
  ASSERT_TRUE(encoder.encode(state, first));
  state[100] ^= std::byte{1};
  ASSERT_TRUE(encoder.encode(state, second));
  const auto prepared = [&] {
    auto decoder = std::make_unique<DeviceDecoder>();
    EXPECT_TRUE(decoder->decode(first));
    return decoder;
  };
  for (std::size_t size = 0; size < second.size(); ++size) {
    const auto decoder = prepared();
    EXPECT_FALSE(decoder->decode(std::span{second}.first(size))) << size;
    expect_equal(decoder->decode(second), state);  // a refused one does not spoil what follows
  }
  for (std::size_t at = 0; at < second.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      auto bad = second;
      bad[at] ^= std::byte{1} << bit;
      const auto decoder = prepared();
      if (const auto got = decoder->decode(bad); !got) {
        EXPECT_EQ(got.error().kind, Errc::corrupt);
      }
    }
  }
}

}  // namespace
}  // namespace remus::checkpoint
