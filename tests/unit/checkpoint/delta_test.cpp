#include "checkpoint/delta.hpp"

#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Page;
using test::Random;

std::vector<std::byte> delta_of(const Page& from, const Page& to, std::size_t limit = delta_bytes_max) {
  std::vector<std::byte> out(limit + delta_overrun_bytes);
  out.resize(encode_delta(from.data(), to.data(), out, limit));
  return out;
}

TEST(Delta, UnchangedPageIsTheSmallestDelta) {
  Page page;
  Random{1}.fill(page);
  const auto delta = delta_of(page, page);
  EXPECT_EQ(delta, std::vector<std::byte>(delta_bytes_min));
  EXPECT_TRUE(valid_delta(delta));
}

TEST(Delta, OneByteCostsEleven) {
  Page from{};
  Page to{};
  to[4095] = std::byte{1};
  const auto delta = delta_of(from, to);
  ASSERT_EQ(delta.size(), 11U);
  // The format of docs/page-batch-format.md: line 63, word 7, byte 7.
  EXPECT_EQ(delta[7], std::byte{0x80});
  EXPECT_EQ(delta[8], std::byte{0x80});
  EXPECT_EQ(delta[9], std::byte{0x80});
  EXPECT_EQ(delta[10], std::byte{1});
}

TEST(Delta, EveryByteOfAPageCanChange) {
  Page from{};
  Page to;
  to.fill(std::byte{0xff});
  const auto delta = delta_of(from, to);
  ASSERT_EQ(delta.size(), delta_bytes_max);
  ASSERT_TRUE(apply_delta(delta, from.data()));
  EXPECT_EQ(from, to);
}

TEST(Delta, RoundTripsAnyChange) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    Random random{seed};
    Page from;
    random.fill(from);
    Page to = from;
    random.touch(to, random(random(2) == 0 ? 8 : 600));
    const auto delta = delta_of(from, to);
    ASSERT_FALSE(delta.empty());
    ASSERT_TRUE(valid_delta(delta));
    ASSERT_TRUE(apply_delta(delta, from.data()));
    ASSERT_EQ(from, to);
  }
}

TEST(Delta, LimitHoldsExactly) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    Random random{seed};
    Page from{};
    Page to{};
    random.touch(to, 1 + random(512));
    const auto full = delta_of(from, to);
    EXPECT_EQ(delta_of(from, to, full.size()), full);
    EXPECT_TRUE(delta_of(from, to, full.size() - 1).empty());
  }
}

TEST(Delta, WritesNoFurtherThanPromised) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    Random random{seed};
    Page from{};
    Page to{};
    random.fill(to);
    const auto limit = static_cast<std::size_t>(8 + random(4000));
    std::vector<std::byte> out(limit + delta_overrun_bytes + 64, std::byte{0xa5});
    static_cast<void>(
        encode_delta(from.data(), to.data(), std::span{out}.first(limit + delta_overrun_bytes), limit));
    for (std::size_t i = limit + delta_overrun_bytes; i < out.size(); ++i) ASSERT_EQ(out[i], std::byte{0xa5});
  }
}

TEST(Delta, MalformedChangesNothing) {
  Random random{3};
  Page from;
  random.fill(from);
  Page to = from;
  random.touch(to, 40);
  const auto good = delta_of(from, to);

  for (std::size_t size = 0; size < good.size(); ++size) {
    Page page = from;
    const auto cut = std::span{good}.first(size);
    EXPECT_FALSE(valid_delta(cut));
    const auto applied = apply_delta(cut, page.data());
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().kind, Errc::corrupt);
    EXPECT_EQ(page, from);
  }
  auto longer = good;
  longer.push_back(std::byte{1});
  EXPECT_FALSE(valid_delta(longer));
}

TEST(Delta, OnlyOneEncodingIsValid) {
  // A line said to have changed with no changed word, a word with no changed byte, a byte XORed with zero.
  std::vector<std::byte> delta(11);
  delta[0] = delta[8] = delta[9] = delta[10] = std::byte{1};
  ASSERT_TRUE(valid_delta(delta));
  for (const std::size_t at : {8UL, 9UL, 10UL}) {
    auto bad = delta;
    bad[at] = std::byte{0};
    EXPECT_FALSE(valid_delta(bad)) << at;
  }
}

TEST(Delta, FlippedBitsAreCaughtOrHarmless) {
  Random random{4};
  Page from;
  random.fill(from);
  Page to = from;
  random.touch(to, 30);
  const auto good = delta_of(from, to);
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      auto bad = good;
      bad[at] ^= std::byte{1} << bit;
      Page page = from;
      const bool applied{apply_delta(bad, page.data())};
      EXPECT_EQ(applied, valid_delta(bad));
      if (applied) {
        EXPECT_NE(page, to);  // the encoding is unique, so another delta is another page
      } else {
        EXPECT_EQ(page, from);
      }
    }
  }
}

}  // namespace
}  // namespace remus::checkpoint
