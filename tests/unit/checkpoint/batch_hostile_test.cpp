// Payloads nobody honest would send: each gives Errc::corrupt or writes within the image, and apply() never
// fails on what validate() accepted.
#include "checkpoint/wire.hpp"
#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Memory;
using test::Pair;
using test::Random;

/// An image with a fence of known bytes around each block.
struct Fenced {
  static constexpr std::size_t fence_bytes = 256UL * 1024;

  explicit Fenced(const Layout& layout) {
    for (const auto& block : layout.blocks) {
      memory.emplace_back(block.bytes + 2 * fence_bytes, std::byte{0xfe});
    }
    std::vector<std::span<std::byte>> spans;
    for (auto& each : memory)
      spans.push_back(std::span{each}.subspan(fence_bytes, each.size() - 2 * fence_bytes));
    image.emplace(Image::create(layout, spans).value());
  }
  [[nodiscard]] bool intact() const {
    const auto untouched = [](std::byte b) { return b == std::byte{0xfe}; };
    return std::ranges::all_of(memory, [&](const auto& each) {
      return std::ranges::all_of(std::span{each}.first(fence_bytes), untouched) &&
             std::ranges::all_of(std::span{each}.last(fence_bytes), untouched);
    });
  }

  std::vector<std::vector<std::byte>> memory{};
  std::optional<Image> image{};
};

class BatchHostile : public ::testing::TestWithParam<Compression> {
 protected:
  /// A batch with every kind of record.
  std::vector<std::byte> sample() {
    Pair pair{layout, 64, {.compression = GetParam()}};
    Random random{1};
    random.fill(pair.guest.page(layout, 1));
    pair.add(1);
    pair.deliver();
    random.touch(pair.guest.page(layout, 1), 10);
    pair.add(1);
    pair.encoder.add_zero(3, pair.out);
    random.fill_text(pair.guest.page(layout, 9));
    pair.add(9);
    pair.add(2);
    random.touch(pair.guest.page(layout, 2), 3);
    pair.add(2);
    pair.encoder.flush(pair.out);
    return pair.out.batches.at(0);
  }

  /// The two promises; returns whether the payload was accepted.
  bool expect_harmless(std::span<const std::byte> payload) {
    const auto valid = decoder.validate(payload);
    const auto applied = decoder.apply(payload, *fenced.image);
    EXPECT_EQ(valid.has_value(), applied.has_value());
    if (!valid) {
      EXPECT_EQ(valid.error().kind, Errc::corrupt);
    }
    if (!applied) {
      EXPECT_EQ(applied.error().kind, Errc::corrupt);
    }
    return valid.has_value();
  }

  Layout layout = test::two_blocks(8, 4);
  Fenced fenced{layout};
  BatchDecoder decoder{layout};
};

TEST_P(BatchHostile, SampleItselfIsSound) {
  const auto payload = sample();
  const auto summary = decoder.validate(payload);
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->zero, 1U + 1U);
  EXPECT_EQ(summary->raw, 1U);
  EXPECT_EQ(summary->delta, 2U);
  EXPECT_EQ(summary->packing == Packing::none, GetParam() == Compression::none);
  EXPECT_TRUE(expect_harmless(payload));
  EXPECT_TRUE(fenced.intact());
}

TEST_P(BatchHostile, CutAnywhereIsCorrupt) {
  const auto payload = sample();
  for (std::size_t size = 0; size < payload.size(); ++size) {
    // In memory of its own, so that a sanitizer sees a read past the end.
    const std::vector<std::byte> cut(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_FALSE(expect_harmless(cut)) << size;
  }
  auto longer = payload;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(expect_harmless(longer));
  EXPECT_TRUE(fenced.intact());
}

TEST_P(BatchHostile, AnyByteChangedIsHarmless) {
  const auto payload = sample();
  Random random{2};
  for (std::size_t at = 0; at < payload.size(); ++at) {
    for (const auto flip : {std::byte{1}, std::byte{0x80}, std::byte{0xff}, random.byte()}) {
      auto bad = payload;
      bad[at] ^= flip;
      expect_harmless(bad);
    }
  }
  EXPECT_TRUE(fenced.intact());
}

TEST_P(BatchHostile, ManyBytesChangedIsHarmless) {
  const auto payload = sample();
  for (std::uint64_t seed = 0; seed < 5000; ++seed) {
    Random random{seed};
    auto bad = payload;
    for (auto n = 1 + random(20); n > 0; --n) bad[random(bad.size())] = random.byte();
    expect_harmless(bad);
  }
  EXPECT_TRUE(fenced.intact());
}

INSTANTIATE_TEST_SUITE_P(Packings, BatchHostile,
                         ::testing::Values(Compression::none, Compression::lz4, Compression::zstd));

/// Batches written by hand.
class BatchForged : public ::testing::Test {
 protected:
  struct Header {
    std::uint8_t version = batch_version;
    std::uint8_t packing = 0;
    std::uint16_t reserved = 0;
    std::uint32_t records = 1;
  };
  static std::vector<std::byte> forge(Header header, std::span<const std::byte> body,
                                      std::int64_t body_bytes = -1) {
    std::vector<std::byte> out(batch_header_bytes + body.size());
    wire::store(out.data(), header.version);
    wire::store(out.data() + 1, header.packing);
    wire::store(out.data() + 2, header.reserved);
    wire::store(out.data() + 4, header.records);
    wire::store(out.data() + 8, static_cast<std::uint32_t>(body_bytes < 0 ? std::ssize(body) : body_bytes));
    std::ranges::copy(body, out.data() + batch_header_bytes);
    return out;
  }
  static std::vector<std::byte> head(std::int64_t step, unsigned kind) {
    std::vector<std::byte> out(wire::varint_bytes_max);
    const auto* end = wire::put_varint(out.data(), wire::zigzag(step) << 2 | kind);
    out.resize(static_cast<std::size_t>(end - out.data()));
    return out;
  }
  void expect_corrupt(const std::vector<std::byte>& payload) {
    const auto valid = decoder.validate(payload);
    ASSERT_FALSE(valid);
    EXPECT_EQ(valid.error().kind, Errc::corrupt);
    EXPECT_FALSE(decoder.apply(payload, *fenced.image));
    EXPECT_TRUE(fenced.intact());
  }

  Layout layout = test::two_blocks(8, 4);
  Fenced fenced{layout};
  BatchDecoder decoder{layout};
};

TEST_F(BatchForged, HeaderFields) {
  const auto zero = head(0, 0);
  ASSERT_TRUE(decoder.validate(forge({}, zero)));
  expect_corrupt(forge({.version = 0}, zero));
  expect_corrupt(forge({.version = 2}, zero));
  expect_corrupt(forge({.packing = 3}, zero));
  expect_corrupt(forge({.reserved = 1}, zero));
  expect_corrupt(forge({.records = 0}, {}));
  expect_corrupt(forge({.records = 2}, zero));
  expect_corrupt(forge({.records = batch_records_max + 1}, std::vector<std::byte>(batch_records_max + 1)));
  expect_corrupt(forge({}, zero, 2));
  expect_corrupt(forge({}, zero, 0));
  expect_corrupt(forge({.packing = 1}, zero, 0xffffffff));
  expect_corrupt(forge({.packing = 2}, zero, batch_body_bytes_max + 1));
}

TEST_F(BatchForged, PagesOutsideTheGuest) {
  for (const std::int64_t step :
       {std::int64_t{12}, std::int64_t{-1}, std::int64_t{1} << 32, (std::int64_t{1} << 32) + 1,
        -(std::int64_t{1} << 32), std::int64_t{1} << 60, -(std::int64_t{1} << 60)}) {
    expect_corrupt(forge({}, head(step, 0)));
    auto body = head(step, 1);
    body.resize(body.size() + page_bytes);
    expect_corrupt(forge({}, body));
  }
  // The last page, and one step further.
  auto body = head(11, 0);
  EXPECT_TRUE(decoder.validate(forge({}, body)));
  body.push_back(std::byte{0});
  expect_corrupt(forge({.records = 2}, body));
}

TEST_F(BatchForged, RecordsOfNoKind) {
  expect_corrupt(forge({}, head(0, 3)));
}

TEST_F(BatchForged, DeltaLengths) {
  for (const unsigned length : {0U, 7U, 8U, 9U, 0xffffU}) {
    auto body = head(0, 2);
    const auto at = body.size();
    body.resize(at + 2 + 8);
    wire::store(body.data() + at, static_cast<std::uint16_t>(length));
    const auto payload = forge({}, body);
    if (length == 8) {
      EXPECT_TRUE(decoder.validate(payload));
    } else {
      expect_corrupt(payload);
    }
  }
}

TEST_F(BatchForged, LargerThanAFrame) {
  expect_corrupt(std::vector<std::byte>(batch_payload_bytes_max + 1));
}

}  // namespace
}  // namespace remus::checkpoint
