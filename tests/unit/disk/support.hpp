// What disk tests share: a disk as an array, random changes to it, logs with little room.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "../temp_dir.hpp"
#include "disk/write_batch.hpp"
#include "disk/write_log.hpp"

namespace remus::disk::test {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define REMUS_TEST_FEW_LIVES
#endif
#endif

/// Lives that are lived through, each with a cut at every step. Under a sanitizer, ten times slower, fewer: of that word is
/// left in the test's results, where tests/run.py finds it.
inline std::uint64_t lives() {
  constexpr std::uint64_t in_full = 60;
#ifdef REMUS_TEST_FEW_LIVES
  constexpr std::uint64_t here = 10;
  testing::Test::RecordProperty("shortened", fmt::format("{} instead of {} lives", here, in_full));
  return here;
#else
  return in_full;
#endif
}

using Bytes = std::vector<std::byte>;

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error{result.error().text()};
  return std::move(*result);
}
inline void must(Status status) {
  if (!status) throw std::runtime_error{status.error().text()};
}

/// Batches as the link would carry them.
class BatchList final : public checkpoint::BatchOutput {
 public:
  std::span<std::byte> batch_space() override {
    space_.resize(write_batch_payload_bytes_max);
    return space_;
  }
  void batch_ready(std::size_t bytes) override {
    list.emplace_back(space_.begin(), space_.begin() + static_cast<std::ptrdiff_t>(bytes));
  }
  std::vector<Bytes> list{};

 private:
  Bytes space_{};
};

inline Bytes pattern(std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  Bytes out(bytes);
  for (auto& byte : out) byte = static_cast<std::byte>(random() | 1);  // never what a hole reads as
  return out;
}

inline void apply(const Write& write, Bytes& disk) {
  if (write.offset + write.bytes > disk.size()) throw std::runtime_error{"write beyond the disk"};
  if (write.kind == WriteKind::data) {
    std::ranges::copy(write.data, disk.begin() + static_cast<std::ptrdiff_t>(write.offset));
  } else {
    std::fill_n(disk.begin() + static_cast<std::ptrdiff_t>(write.offset), write.bytes, std::byte{0});
  }
}

inline void apply(const Portion& portion, Bytes& disk) {
  std::uint64_t behind = 0;
  must(portion.visit([&](const Write& write) -> Status {
    EXPECT_GE(write.offset, behind) << "writes come in order and do not overlap";
    behind = write.offset + write.bytes;
    apply(write, disk);
    return {};
  }));
}

inline std::shared_ptr<ChunkPool> small_pool(const remus::test::TempDir& directory, std::size_t memory_chunks,
                                             std::size_t spill_chunks) {
  return must(ChunkPool::create({memory_chunks * chunk_bytes, spill_chunks * chunk_bytes}, directory.path()));
}

}  // namespace remus::disk::test
