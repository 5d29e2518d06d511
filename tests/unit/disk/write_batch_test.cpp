#include "disk/write_batch.hpp"

#include "checkpoint/wire.hpp"
#include "link/messages.hpp"
#include "support.hpp"

namespace remus::disk {
namespace {

using namespace test;
using checkpoint::Compression;

// What the link carries is what the batches within can say.
static_assert(disks_max == link::disks_max && WriteLog::disk_bytes_max == link::disk_bytes_max);

class WriteBatchTest : public testing::TestWithParam<Compression> {
 protected:
  static constexpr std::uint64_t disk_bytes = 4ULL << 20;
  remus::test::TempDir directory;
  WriteLog log{{disk_bytes}, small_pool(directory, 2, 400)};
  WriteBatchDecoder decoder{{512, disk_bytes}};

  std::vector<Bytes> encode(PortionNumber number) {
    BatchList out;
    WriteBatchEncoder encoder{GetParam(), 125'000'000};
    must(encoder.encode(1, *log.portion(number), out));
    return std::move(out.list);
  }
  void decode(const std::vector<Bytes>& payloads, Bytes& disk) {
    for (const Bytes& payload : payloads) {
      EXPECT_EQ(must(decoder.validate(payload)).disk, 1);
      must(decoder.visit(payload, [&](DiskIndex, const Write& write) -> Status {
        apply(write, disk);
        return {};
      }));
    }
  }
};

TEST_P(WriteBatchTest, WhatIsEncodedIsDecoded) {
  std::mt19937_64 random{11};
  Bytes wanted = pattern(disk_bytes, 0);
  Bytes replica = wanted;
  for (int round = 0; round < 20; ++round) {
    for (std::uint64_t step = random() % 60; step > 0; --step) {
      const std::uint64_t offset = random() % disk_bytes;
      const std::uint64_t bytes =
          1 + random() % std::min<std::uint64_t>(disk_bytes - offset, random() % 8 == 0 ? 1U << 20 : 8192);
      if (random() % 3 != 0) {
        Bytes data = pattern(bytes, random());
        if (random() % 2 == 0) std::ranges::fill(data, std::byte{7});  // packs well
        apply({offset, bytes, WriteKind::data, data}, wanted);
        must(log.write(offset, data));
      } else {
        apply({offset, bytes, WriteKind::trim, {}}, wanted);
        must(random() % 2 == 0 ? log.trim(offset, bytes) : log.zero(offset, bytes, random() % 2 == 0));
      }
    }
    const auto number = log.mark();
    decode(encode(number), replica);
    log.release(number);
    ASSERT_EQ(replica, wanted) << "round " << round;
  }
}

TEST_P(WriteBatchTest, KindsArriveAsTheyWere) {
  must(log.zero(0, 1000, false));
  must(log.zero(2000, 1000, true));
  must(log.trim(4000, 1000));
  must(log.write(6000, pattern(3, 1)));
  const auto payloads = encode(log.mark());
  ASSERT_EQ(payloads.size(), 1U);
  std::vector<WriteKind> kinds;
  must(decoder.visit(payloads[0], [&](DiskIndex, const Write& write) -> Status {
    kinds.push_back(write.kind);
    return {};
  }));
  EXPECT_EQ(kinds, (std::vector{WriteKind::zero, WriteKind::zero_unmap, WriteKind::trim, WriteKind::data}));
}

TEST_P(WriteBatchTest, AnEmptyPortionIsNoBatch) {
  EXPECT_TRUE(encode(log.mark()).empty());
}

TEST_P(WriteBatchTest, ManySmallWritesFillSeveralBatches) {
  for (std::uint64_t i = 0; i < 8000; ++i) must(log.trim(i * 16, 8));
  const auto payloads = encode(log.mark());
  EXPECT_EQ(payloads.size(), 2U);
  std::uint32_t records = 0;
  for (const Bytes& payload : payloads) records += must(decoder.validate(payload)).records;
  EXPECT_EQ(records, 8000U);
}

TEST_P(WriteBatchTest, EveryDamageIsFoundOrHarmless) {
  must(log.write(100, Bytes(300, std::byte{1})));
  must(log.trim(5000, 100));
  must(log.write(disk_bytes - 10, pattern(10, 3)));
  const Bytes payload = encode(log.mark()).at(0);
  for (std::size_t size = 0; size < payload.size(); ++size)
    EXPECT_EQ(decoder.validate(std::span{payload}.first(size)).error().kind, Errc::corrupt) << size;
  std::mt19937_64 random{5};
  Bytes disk(disk_bytes);
  for (int round = 0; round < 20'000; ++round) {
    Bytes damaged = payload;
    for (std::uint64_t n = 1 + random() % 3; n > 0; --n)
      damaged[random() % damaged.size()] ^= static_cast<std::byte>(1U << random() % 8);
    const bool valid = decoder.validate(damaged).has_value();
    const auto visited = decoder.visit(damaged, [&](DiskIndex index, const Write& write) -> Status {
      if (index == 1) apply(write, disk);  // throws if it is not within the disk
      return {};
    });
    EXPECT_EQ(valid, visited.has_value());
  }
}

INSTANTIATE_TEST_SUITE_P(Packings, WriteBatchTest,
                         testing::Values(Compression::none, Compression::lz4, Compression::zstd,
                                         Compression::automatic));

/// The example of docs/disk-batch-format.md.
TEST(WriteBatchFormat, IsAsDocumented) {
  const remus::test::TempDir directory;
  WriteLog log{{1U << 20}, small_pool(directory, 2, 0)};
  must(log.write(512, Bytes(3, std::byte{0xab})));
  must(log.zero(1024, 512, true));
  BatchList out;
  WriteBatchEncoder encoder{Compression::none, 1};
  must(encoder.encode(2, *log.portion(log.mark()), out));
  const auto byte = [](int value) { return static_cast<std::byte>(value); };
  const Bytes wanted{byte(1),    byte(0),    byte(2),    byte(0),  // version, packing, disk
                     byte(2),    byte(0),    byte(0),    byte(0),  // records
                     byte(10),   byte(0),    byte(0),    byte(0),  // body
                     byte(0x80), byte(0x10), byte(3),    byte(0xab), byte(0xab), byte(0xab),  // data at 512
                     byte(0xf6), byte(0x0f), byte(0x80), byte(0x04)};  // zero_unmap 509 behind
  ASSERT_EQ(out.list.size(), 1U);
  EXPECT_EQ(out.list[0], wanted);
}

TEST(WriteBatchFormat, HeadersThatBreakARuleAreRefused) {
  WriteBatchDecoder decoder{{4096}};
  const auto batch = [](int version, int packing, int disk, int records, std::vector<int> body) {
    Bytes out(write_batch_header_bytes);
    out[0] = static_cast<std::byte>(version);
    out[1] = static_cast<std::byte>(packing);
    out[2] = static_cast<std::byte>(disk);
    checkpoint::wire::store(out.data() + 4, static_cast<std::uint32_t>(records));
    checkpoint::wire::store(out.data() + 8, static_cast<std::uint32_t>(body.size()));
    for (const int value : body) out.push_back(static_cast<std::byte>(value));
    return out;
  };
  EXPECT_TRUE(decoder.validate(batch(1, 0, 0, 1, {0, 1, 9})));
  EXPECT_FALSE(decoder.validate(batch(2, 0, 0, 1, {0, 1, 9}))) << "version";
  EXPECT_FALSE(decoder.validate(batch(1, 3, 0, 1, {0, 1, 9}))) << "packing";
  EXPECT_FALSE(decoder.validate(batch(1, 0, 1, 1, {0, 1, 9}))) << "disk";
  EXPECT_FALSE(decoder.validate(batch(1, 0, 0, 0, {}))) << "no records";
  EXPECT_FALSE(decoder.validate(batch(1, 0, 0, 2, {0, 1, 9}))) << "records";
  EXPECT_FALSE(decoder.validate(batch(1, 0, 0, 1, {0, 1, 9, 9}))) << "bytes behind";
  EXPECT_FALSE(decoder.validate(batch(1, 0, 0, 1, {0, 0}))) << "no bytes";
  EXPECT_TRUE(decoder.validate(batch(1, 0, 0, 1, {3, 0x80, 0x20}))) << "a trim of all the disk";
  EXPECT_FALSE(decoder.validate(batch(1, 0, 0, 1, {3, 0x81, 0x20}))) << "one byte more";
  EXPECT_FALSE(decoder.validate(batch(1, 0, 0, 1, {7, 0x80, 0x20}))) << "one byte further";
}

}  // namespace
}  // namespace remus::disk
