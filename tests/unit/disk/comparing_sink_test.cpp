#include "disk/comparing_sink.hpp"

#include "support.hpp"

namespace remus::disk {
namespace {

using namespace test;

constexpr std::uint64_t hash_seed = 77;
constexpr std::uint32_t unit = 4096;

/// What a replica would say of itself.
Bytes hashes_of(std::span<const std::byte> replica) {
  const checkpoint::PageHasher hasher{hash_seed};
  Bytes out;
  for (std::size_t at = 0; at < replica.size(); at += unit) {
    const auto hash = hasher.of(replica.subspan(at, std::min<std::size_t>(unit, replica.size() - at)));
    const auto bytes = std::as_bytes(std::span{&hash, 1});
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  return out;
}

class ComparingSinkTest : public testing::Test {
 protected:
  static constexpr std::uint64_t disk_bytes = 40 * unit + 512;  ///< the last unit is shorter

  ComparingSinkTest() {
    disk = pattern(disk_bytes, 1);
    std::ranges::fill(std::span{disk}.subspan(8 * unit, 8 * unit), std::byte{0});
    replica = disk;
  }
  void expect_all() {
    hashes = hashes_of(replica);
    sink.expect({.offset = 0, .bytes = disk_bytes, .block_bytes = unit, .hashes = hashes});
  }
  void read(std::uint64_t offset, std::uint64_t bytes) {
    must(sink.finish(sink.begin(offset, bytes), std::span{disk}.subspan(offset, bytes)));
  }
  /// What is taken, and brings the replica to the disk's content.
  void expect_taken(std::uint64_t bytes) {
    EXPECT_EQ(log.stats().copied_bytes, bytes);
    apply(*log.portion(log.mark()), replica);
    EXPECT_TRUE(replica == disk);
  }

  remus::test::TempDir directory;
  WriteLog log{{.disk_bytes = disk_bytes}, small_pool(directory, 64, 0)};
  ComparingSink sink{log, hash_seed};
  Bytes disk{}, replica{}, hashes{};
};

TEST_F(ComparingSinkTest, TakesTheBlocksThatDiffer) {
  for (const std::size_t at : {3U, 4U, 6U, 39U}) replica[at * unit + at] ^= std::byte{1};
  replica.back() ^= std::byte{1};
  expect_all();
  read(0, 8 * unit);
  must(sink.finish_zero(sink.begin(8 * unit, 8 * unit)));
  read(16 * unit, disk_bytes - 16 * unit);
  expect_taken(4 * unit + 512);
}

TEST_F(ComparingSinkTest, TakesNothingWhereAllIsEqual) {
  expect_all();
  read(0, 8 * unit);
  must(sink.finish_zero(sink.begin(8 * unit, 8 * unit)));
  read(16 * unit, disk_bytes - 16 * unit);
  expect_taken(0);
}

TEST_F(ComparingSinkTest, AHoleIsTakenWhereTheReplicaHasSomething) {
  replica[10 * unit] = std::byte{1};
  expect_all();
  must(sink.finish_zero(sink.begin(8 * unit, 8 * unit)));
  expect_taken(unit);
}

TEST_F(ComparingSinkTest, OfAnEmptyReplicaZerosAreEqual) {
  std::ranges::fill(replica, std::byte{0});
  sink.expect({.offset = 0, .bytes = disk_bytes, .block_bytes = unit, .zero = true});
  must(sink.finish_zero(sink.begin(8 * unit, unit)));
  read(9 * unit, 8 * unit);  // one unit of them has something in it
  std::ranges::fill(std::span{disk}.first(8 * unit), std::byte{0});
  std::ranges::fill(std::span{disk}.subspan(17 * unit), std::byte{0});
  expect_taken(unit);
}

TEST_F(ComparingSinkTest, TakesWhatItCannotCompare) {
  expect_all();
  read(unit / 2, unit);  // halves of blocks
  EXPECT_EQ(log.stats().copied_bytes, unit);
  sink.expect({.offset = 4 * unit, .bytes = 2 * unit, .block_bytes = unit, .hashes = hashes});
  read(5 * unit, 2 * unit);  // beyond what is known
  EXPECT_EQ(log.stats().copied_bytes, 3 * unit);
  sink.forget();
  read(20 * unit, unit);
  expect_taken(4 * unit);
}

TEST_F(ComparingSinkTest, WhatIsWrittenMeanwhileIsOfTheWrite) {
  replica[0] ^= std::byte{1};
  replica[unit] ^= std::byte{1};
  expect_all();
  const auto equal = sink.begin(2 * unit, unit);
  const auto differing = sink.begin(0, 2 * unit);
  const Bytes was{disk.begin(), disk.begin() + 3 * unit};
  const auto write = [&](std::uint64_t at) {
    const Bytes data = pattern(100, at);
    std::ranges::copy(data, disk.begin() + static_cast<std::ptrdiff_t>(at));
    must(log.write(at, data));
  };
  write(50);
  write(2 * unit + 50);
  must(sink.finish(differing, std::span{was}.first(2 * unit)));
  must(sink.finish(equal, std::span{was}.subspan(2 * unit)));
  expect_taken(2 * unit - 100);
}

}  // namespace
}  // namespace remus::disk
