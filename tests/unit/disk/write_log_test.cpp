#include "disk/write_log.hpp"

#include "support.hpp"

namespace remus::disk {
namespace {

using namespace test;

class WriteLogTest : public testing::Test {
 protected:
  static constexpr std::uint64_t disk_bytes = 8ULL << 20;
  void make(std::size_t memory_chunks, std::size_t spill_chunks, std::size_t extents_max = 1U << 20) {
    pool = small_pool(directory, memory_chunks, spill_chunks);
    log = std::make_unique<WriteLog>(WriteLogSettings{disk_bytes, extents_max, std::chrono::milliseconds{20}},
                                     pool);
  }
  void SetUp() override { make(64, 64); }

  remus::test::TempDir directory;
  std::shared_ptr<ChunkPool> pool;
  std::unique_ptr<WriteLog> log;
};

TEST_F(WriteLogTest, AMarkDividesWhatCameBeforeFromWhatComesAfter) {
  Bytes replica(disk_bytes);
  must(log->write(0, pattern(1000, 1)));
  EXPECT_EQ(log->mark(), 1U);
  must(log->write(500, pattern(1000, 2)));
  EXPECT_EQ(log->mark(), 2U);

  Bytes wanted(disk_bytes);
  std::ranges::copy(pattern(1000, 1), wanted.begin());
  apply(*log->portion(1), replica);
  EXPECT_EQ(replica, wanted);
  std::ranges::copy(pattern(1000, 2), wanted.begin() + 500);
  apply(*log->portion(2), replica);
  EXPECT_EQ(replica, wanted);
}

TEST_F(WriteLogTest, ARewriteWithinAPortionCostsNoRoom) {
  for (int i = 0; i < 1000; ++i) must(log->write(4096, pattern(4096, static_cast<std::uint64_t>(i))));
  EXPECT_EQ(pool->reserved(), 1U);
  EXPECT_EQ(log->stats().rewritten_bytes, 999U * 4096);
  Bytes replica(disk_bytes);
  apply(*log->portion(log->mark()), replica);
  EXPECT_TRUE(std::ranges::equal(std::span{replica}.subspan(4096, 4096), pattern(4096, 999)));
}

TEST_F(WriteLogTest, APortionThatWasMarkedIsNotRewritten) {
  must(log->write(0, pattern(512, 1)));
  const auto number = log->mark();
  must(log->write(0, pattern(512, 2)));
  Bytes replica(disk_bytes);
  apply(*log->portion(number), replica);
  EXPECT_TRUE(std::ranges::equal(std::span{replica}.first(512), pattern(512, 1)));
}

TEST_F(WriteLogTest, BeyondMemoryPortionsGoToTheFileAndComeBackUnchanged) {
  make(2, 40);
  for (std::uint64_t i = 0; i < 24; ++i) must(log->write(i * chunk_bytes, pattern(chunk_bytes, i)));
  EXPECT_GT(pool->spilled(), 20U);
  must(log->write(100, pattern(5000, 99)));  // over data that was spilled
  Bytes wanted(disk_bytes);
  for (std::uint64_t i = 0; i < 24; ++i)
    std::ranges::copy(pattern(chunk_bytes, i), wanted.begin() + static_cast<std::ptrdiff_t>(i * chunk_bytes));
  std::ranges::copy(pattern(5000, 99), wanted.begin() + 100);
  Bytes replica(disk_bytes);
  const auto number = log->mark();
  apply(*log->portion(number), replica);
  EXPECT_EQ(replica, wanted);
  log->release(number);
  EXPECT_EQ(pool->reserved(), 0U);
  EXPECT_EQ(pool->spilled(), 0U);
}

TEST_F(WriteLogTest, AWriterWithoutRoomWaitsForARelease) {
  make(4, 0);
  pool = small_pool(directory, 4, 0);
  log = std::make_unique<WriteLog>(WriteLogSettings{disk_bytes, 1000, std::chrono::minutes{5}}, pool);
  must(log->write(0, pattern(4 * chunk_bytes, 1)));
  const auto first = log->mark();
  std::thread writer{[&] { must(log->write(0, pattern(2 * chunk_bytes, 2))); }};
  while (log->stats().waits == 0) std::this_thread::yield();
  log->release(first);
  writer.join();
  EXPECT_TRUE(log->state());
  Bytes replica(disk_bytes);
  apply(*log->portion(log->mark()), replica);
  EXPECT_TRUE(std::ranges::equal(std::span{replica}.first(2 * chunk_bytes), pattern(2 * chunk_bytes, 2)));
}

TEST_F(WriteLogTest, WithoutARoomInTimeTheLogGivesUpAndTheGuestGoesOn) {
  make(4, 0);
  for (std::uint64_t i = 0; i < 8; ++i) EXPECT_TRUE(log->write(i * chunk_bytes, pattern(chunk_bytes, i)));
  const auto state = log->state();
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().kind, Errc::exhausted);
  EXPECT_EQ(pool->reserved(), 0U) << "a broken log needs no room";
  EXPECT_EQ(log->portion(log->mark()), nullptr) << "and never passes for whole";
  EXPECT_TRUE(log->write(0, pattern(10, 1)));
}

TEST_F(WriteLogTest, ExtentsAreBoundedToo) {
  make(64, 0, 100);
  for (std::uint64_t i = 0; i < 200; ++i) EXPECT_TRUE(log->trim(i * 8192, 4096));
  EXPECT_FALSE(log->state());
}

TEST_F(WriteLogTest, WhatIsNotWithinTheDiskIsRefused) {
  EXPECT_EQ(log->write(disk_bytes - 10, pattern(11, 1)).error().kind, Errc::invalid);
  EXPECT_EQ(log->zero(~std::uint64_t{0} - 5, 10, true).error().kind, Errc::invalid);
  EXPECT_EQ(log->trim(disk_bytes + 1, 0).error().kind, Errc::invalid);
  EXPECT_TRUE(log->write(disk_bytes - 10, pattern(10, 1)));
  EXPECT_TRUE(log->state());
}

TEST_F(WriteLogTest, WhatWasWrittenDuringACopyIsNotTakenFromIt) {
  const auto ticket = log->begin(0, 65536);
  must(log->write(4096, pattern(4096, 1)));
  must(log->trim(0, 512));
  const auto before = log->mark();  // the copy spans a mark
  must(log->write(65000, pattern(5000, 2)));
  must(log->finish(ticket, pattern(65536, 3)));
  const auto after = log->mark();

  Bytes wanted(disk_bytes);
  std::ranges::copy(pattern(65536, 3), wanted.begin());
  std::fill_n(wanted.begin(), 512, std::byte{0});
  std::ranges::copy(pattern(4096, 1), wanted.begin() + 4096);
  std::ranges::copy(pattern(5000, 2), wanted.begin() + 65000);
  Bytes replica = pattern(disk_bytes, 8);
  const Bytes old = replica;
  std::ranges::copy(std::span{old}.subspan(70000), wanted.begin() + 70000);
  apply(*log->portion(before), replica);
  apply(*log->portion(after), replica);
  EXPECT_EQ(replica, wanted);
  EXPECT_EQ(log->stats().overtaken_bytes, 4096U + 512 + 536);
}

TEST_F(WriteLogTest, ACopyThatEndedMeansNothing) {
  const auto ticket = log->begin(0, 512);
  log->abandon(ticket);
  EXPECT_EQ(log->finish(ticket, pattern(512, 1)).error().kind, Errc::invalid);
  EXPECT_EQ(log->finish_zero(log->begin(disk_bytes, 512)).error().kind, Errc::invalid);
  const auto shorter = log->begin(0, 512);
  EXPECT_EQ(log->finish(shorter, pattern(511, 1)).error().kind, Errc::invalid);
}

TEST_F(WriteLogTest, ACopierWaitsForHalfTheRoomAndClosingEndsIt) {
  make(4, 0);
  must(log->write(0, pattern(3 * chunk_bytes, 1)));
  const auto ticket = log->begin(4 << 20, 512);
  std::thread copier{[&] { EXPECT_EQ(log->finish(ticket, pattern(512, 1)).error().kind, Errc::closed); }};
  log->close();
  copier.join();
}

class FailingObserver final : public ChangeObserver {
 public:
  Status changed(std::uint64_t, std::uint64_t) override {
    return fail(Errc::io, "the map cannot be written");
  }
  void marked(PortionNumber) override {}
};

TEST_F(WriteLogTest, AChangeThatCannotBeNotedBreaksTheLog) {
  FailingObserver observer;
  WriteLog noted{{disk_bytes}, pool, &observer};
  EXPECT_TRUE(noted.write(0, pattern(512, 1)));
  EXPECT_FALSE(noted.state());
}

/// Random writes, zeros, trims, copies and marks: portions applied in order are the disk as it was at each mark.
TEST_F(WriteLogTest, PortionsInOrderAreTheDiskAtEachMark) {
  constexpr std::uint64_t small_disk = 2 * chunk_bytes + 12345;
  const std::uint64_t seeds = lives();
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    std::mt19937_64 random{seed};
    auto tight = small_pool(directory, 1 + random() % 3, 400);
    WriteLog tested{{small_disk, 1U << 20, std::chrono::milliseconds{1}}, tight};
    Bytes disk = pattern(small_disk, seed);
    Bytes replica = disk;
    const std::size_t stale = random() % small_disk;  // the replica differs from here on; copies mend it
    std::fill(replica.begin() + static_cast<std::ptrdiff_t>(stale), replica.end(), std::byte{0x55});
    const auto range = [&](std::uint64_t longest) {
      const std::uint64_t offset = random() % small_disk;
      return std::pair{offset, 1 + random() % std::min(small_disk - offset, longest)};
    };
    struct Read {
      CopySink::Ticket ticket{};
      Bytes data{};
    };
    std::vector<Read> reads;
    std::uint64_t copied = stale;
    for (int step = 0; step < 200; ++step) {
      switch (random() % 8) {
        case 0:
        case 1:
        case 2: {
          const auto [offset, bytes] = range(random() % 10 == 0 ? small_disk : 3 * 4096);
          const Bytes data = pattern(bytes, random());
          apply({offset, bytes, WriteKind::data, data}, disk);
          must(tested.write(offset, data));
          break;
        }
        case 3: {
          const auto [offset, bytes] = range(20000);
          apply({offset, bytes, WriteKind::zero, {}}, disk);
          must(random() % 2 == 0 ? tested.zero(offset, bytes, random() % 2 == 0)
                                 : tested.trim(offset, bytes));
          break;
        }
        case 4: {
          if (copied == small_disk) break;
          const std::uint64_t bytes = std::min<std::uint64_t>(1 + random() % 60000, small_disk - copied);
          const auto ticket = tested.begin(copied, bytes);
          const auto at = disk.begin() + static_cast<std::ptrdiff_t>(copied);
          reads.push_back({ticket, Bytes(at, at + static_cast<std::ptrdiff_t>(bytes))});
          copied += bytes;
          break;
        }
        case 5: {
          if (reads.empty()) break;
          const auto which = static_cast<std::ptrdiff_t>(random() % reads.size());
          must(tested.finish(reads[static_cast<std::size_t>(which)].ticket,
                             reads[static_cast<std::size_t>(which)].data));
          reads.erase(reads.begin() + which);
          break;
        }
        case 6: must(tested.flush()); break;
        default: {
          const auto number = tested.mark();
          apply(*tested.portion(number), replica);
          tested.release(number);
          if (stale == 0 || copied == stale) {
            const auto n = static_cast<std::ptrdiff_t>(stale);
            ASSERT_TRUE(std::equal(disk.begin(), disk.begin() + n, replica.begin())) << "seed " << seed;
          }
        }
      }
    }
    while (copied < small_disk) {
      const std::uint64_t bytes = std::min<std::uint64_t>(100'000, small_disk - copied);
      const auto ticket = tested.begin(copied, bytes);
      must(tested.finish(ticket, std::span{disk}.subspan(copied, bytes)));
      copied += bytes;
    }
    for (const Read& read : reads) must(tested.finish(read.ticket, read.data));
    apply(*tested.portion(tested.mark()), replica);
    ASSERT_TRUE(tested.state()) << tested.state().error().text();
    ASSERT_EQ(replica, disk) << "seed " << seed;
  }
}

}  // namespace
}  // namespace remus::disk
