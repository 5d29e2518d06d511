// Writers, a marker, a reader and a copier at once. The sanitizer builds look for races; what is asserted here is that
// no write is lost or seen in the wrong portion.
#include <atomic>
#include <thread>

#include "disk/write_log.hpp"
#include "support.hpp"

namespace remus::disk {
namespace {

using namespace test;

constexpr std::uint64_t lane_bytes = 64 * 4096;  ///< each writer's own part of the disk
constexpr std::size_t writers = 3;
constexpr std::uint64_t threads_disk_bytes = (writers + 1) * lane_bytes;

/// Each writer counts up, block by block. At a mark every block must hold a value at least as new as what its writer
/// had finished before, and at most as new as what it had begun after.
TEST(WriteLogThreads, EachPortionHoldsWhatWasFinishedBeforeItsMarkAndNothingBegunAfter) {
  const remus::test::TempDir directory;
  const auto pool = small_pool(directory, 2, 4000);
  WriteLog log{{threads_disk_bytes, 1U << 20, std::chrono::minutes{1}}, pool};
  constexpr std::uint64_t blocks = lane_bytes / 4096;
  constexpr std::uint64_t steps = 3000;
  std::array<std::atomic<std::uint64_t>, writers> begun{};
  std::array<std::atomic<std::uint64_t>, writers> finished{};

  std::vector<std::thread> threads;
  for (std::size_t w = 0; w < writers; ++w) {
    threads.emplace_back([&, w] {
      std::array<std::uint64_t, 512> block{};
      for (std::uint64_t step = 1; step <= steps; ++step) {
        block.fill(step);
        begun[w] = step;
        must(log.write(w * lane_bytes + step % blocks * 4096, std::as_bytes(std::span{block})));
        finished[w] = step;
      }
    });
  }
  std::atomic<bool> done{false};
  threads.emplace_back([&] {  // a copier of the last lane, which nobody writes
    const Bytes data = pattern(lane_bytes / 4, 5);
    while (!done) {
      for (std::uint64_t i = 0; i < 4; ++i) {
        const auto ticket = log.begin(writers * lane_bytes + i * (lane_bytes / 4), lane_bytes / 4);
        must(log.finish(ticket, data));
      }
    }
  });

  Bytes replica(threads_disk_bytes);
  bool last = false;
  while (!last) {
    last = std::ranges::all_of(finished, [](const auto& value) { return value == steps; });
    std::array<std::uint64_t, writers> before{};
    for (std::size_t w = 0; w < writers; ++w) before[w] = finished[w];
    const auto number = log.mark();
    std::array<std::uint64_t, writers> after{};
    for (std::size_t w = 0; w < writers; ++w) after[w] = begun[w];
    apply(*log.portion(number), replica);
    log.release(number);
    for (std::size_t w = 0; w < writers; ++w) {
      for (std::uint64_t b = 0; b < blocks; ++b) {
        std::array<std::uint64_t, 512> block{};
        std::memcpy(block.data(), replica.data() + w * lane_bytes + b * 4096, 4096);
        ASSERT_TRUE(std::ranges::all_of(block, [&](std::uint64_t value) { return value == block[0]; }))
            << "torn";
        ASSERT_LE(block[0], after[w]);
        // The newest step ≤ before[w] that wrote this block.
        const std::uint64_t back = (before[w] + blocks - b) % blocks;
        if (before[w] > back) {
          ASSERT_GE(block[0], before[w] - back);
        }
      }
    }
  }
  done = true;
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(log.state());
}

TEST(WriteLogThreads, ManyWritersShareLittleRoomAndNoneIsLost) {
  const remus::test::TempDir directory;
  const auto pool = small_pool(directory, 4, 4);
  WriteLog one{{threads_disk_bytes, 1U << 20, std::chrono::minutes{5}}, pool};
  WriteLog two{{threads_disk_bytes, 1U << 20, std::chrono::minutes{5}}, pool};
  std::atomic<std::size_t> running{4};
  std::vector<std::thread> threads;
  for (std::uint64_t w = 0; w < 4; ++w) {
    threads.emplace_back([&, w] {
      WriteLog& log = w % 2 == 0 ? one : two;
      for (std::uint64_t step = 0; step < 60; ++step)
        must(log.write(w / 2 * 2 * lane_bytes, pattern(lane_bytes, w * 1000 + step)));
      --running;
    });
  }
  Bytes first(threads_disk_bytes);
  Bytes second(threads_disk_bytes);
  while (true) {
    const bool last = running == 0;
    const auto a = one.mark();
    const auto b = two.mark();
    apply(*one.portion(a), first);
    apply(*two.portion(b), second);
    one.release(a);
    two.release(b);
    if (last) break;
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(one.state());
  EXPECT_TRUE(two.state());
  for (std::uint64_t w = 0; w < 4; ++w) {
    const Bytes& replica = w % 2 == 0 ? first : second;
    EXPECT_TRUE(std::ranges::equal(std::span{replica}.subspan(w / 2 * 2 * lane_bytes, lane_bytes),
                                   pattern(lane_bytes, w * 1000 + 59)));
  }
  EXPECT_EQ(pool->reserved(), 0U);
}

}  // namespace
}  // namespace remus::disk
