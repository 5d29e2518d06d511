#include "checkpoint/wire.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace remus::checkpoint::wire {
namespace {

constexpr std::uint64_t one{1};
constexpr std::uint64_t max64 = std::numeric_limits<std::uint64_t>::max();

TEST(Wire, VarintRoundTrips) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    for (const std::uint64_t value : {(one << bit) - 1, one << bit, (one << bit) + 1, max64}) {
      std::array<std::byte, varint_bytes_max> bytes;
      const std::byte* end = put_varint(bytes.data(), value);
      std::uint64_t got = 1;
      EXPECT_EQ(get_varint(bytes.data(), end, got), end);
      EXPECT_EQ(got, value);
      EXPECT_EQ(get_varint(bytes.data(), end - 1, got), nullptr) << "cut off: " << value;
    }
  }
}

TEST(Wire, VarintBeyond64BitsIsRefused) {
  std::array<std::byte, 11> bytes;
  bytes.fill(std::byte{0xff});
  std::uint64_t got = 0;
  EXPECT_EQ(get_varint(bytes.data(), bytes.data() + bytes.size(), got), nullptr);
  bytes[9] = std::byte{2};
  EXPECT_EQ(get_varint(bytes.data(), bytes.data() + bytes.size(), got), nullptr);
  bytes[9] = std::byte{1};
  EXPECT_EQ(get_varint(bytes.data(), bytes.data() + bytes.size(), got), bytes.data() + 10);
  EXPECT_EQ(got, max64);
}

TEST(Wire, ZigzagIsSmallNearZero) {
  EXPECT_EQ(zigzag(0), 0U);
  EXPECT_EQ(zigzag(-1), 1U);
  EXPECT_EQ(zigzag(1), 2U);
  for (const std::int64_t value :
       {0L, 1L, -1L, 123456L, -123456L, std::numeric_limits<long>::max(), std::numeric_limits<long>::min()}) {
    EXPECT_EQ(unzigzag(zigzag(value)), value);
  }
}

TEST(Wire, NumbersAreLittleEndian) {
  std::array<std::byte, 4> bytes;
  store(bytes.data(), std::uint32_t{0x04030201});
  EXPECT_EQ(bytes, (std::array{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}}));
}

}  // namespace
}  // namespace remus::checkpoint::wire
