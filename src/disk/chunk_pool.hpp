// The memory that the writes of a guest's disks are kept in until the backup has them, and what happens when it is
// used up.
//
// A guest can write faster than any link carries. So the memory is bounded and shared by the guest's disks; beyond it
// chunks go to a file without a name (nothing is left behind if we die), also bounded; beyond that the pool says no
// and writers wait until an acknowledged epoch gives its chunks back:
//
//   reserve ──▶ in memory ──(memory used up)──▶ spilled ──(all used up)──▶ wait for release
//
// Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "disk/storage.hpp"

namespace remus::disk {

inline constexpr std::size_t chunk_bytes = 256UL * 1024;

/// Some of the data of a portion: in memory, or in a slot of the spill file.
struct Chunk {
  std::unique_ptr<std::byte[]> memory{};
  std::uint32_t slot{};
};

class ChunkPool final {
 public:
  struct Limits {
    std::uint64_t memory_bytes_max = 64ULL << 20;
    std::uint64_t spill_bytes_max = 1ULL << 30;  ///< 0: nothing is spilled
  };
  /// `directory` is where the spill file is made, now, so that a directory that does not allow it is told before
  /// anything is protected. Errors: io, exhausted.
  [[nodiscard]] static Result<std::shared_ptr<ChunkPool>> create(const Limits& limits,
                                                                 const std::filesystem::path& directory);

  /// Sets room for `chunks` aside, in memory or file. False: there is not that much.
  [[nodiscard]] bool reserve(std::size_t chunks);
  /// Room that was set aside and was not needed.
  void unreserve(std::size_t chunks);
  /// Waits until so much could be reserved; somebody else may have it by the time the caller asks. False: the deadline
  /// passed.
  [[nodiscard]] bool wait_for(std::size_t chunks, std::chrono::steady_clock::time_point deadline);

  /// Memory for a reserved chunk; null if memory is used up: then the caller spills one it has, or has none and
  /// insists. (So each portion has a chunk in memory, and the limit is passed by one chunk per portion at most.)
  [[nodiscard]] std::unique_ptr<std::byte[]> memory(bool insist = false);
  /// Copies the chunk to the file. Errors: exhausted (the file system is full), io.
  [[nodiscard]] Result<std::uint32_t> spill(std::span<const std::byte> used);
  /// Errors: io.
  [[nodiscard]] Status load(std::uint32_t slot, std::size_t from, std::span<std::byte> to) const;
  /// Memory, slot and reservation are free again.
  void give_back(std::vector<Chunk>& chunks);

  /// Chunks reserved, of how many. For pacing: an epoch should end before all is used.
  [[nodiscard]] std::size_t reserved() const;
  [[nodiscard]] std::size_t capacity() const noexcept { return memory_max_ + spill_max_; }
  [[nodiscard]] std::size_t spilled() const;

 private:
  ChunkPool(const Limits& limits, std::unique_ptr<StorageFile> file);

  std::size_t memory_max_;
  std::size_t spill_max_;
  std::unique_ptr<StorageFile> file_;  ///< null: nothing is spilled

  mutable std::mutex mutex_{};
  std::condition_variable room_{};
  std::size_t reserved_{};
  std::size_t in_memory_{};
  std::vector<std::unique_ptr<std::byte[]>> idle_{};  ///< memory kept for the next chunk
  std::vector<std::uint32_t> free_slots_{};
  std::uint32_t slots_{};  ///< used so far: the file's length
};

}  // namespace remus::disk
