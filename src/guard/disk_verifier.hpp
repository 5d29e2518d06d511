// Compares a guest's disks with their replicas while the guest writes: reads every block on the primary, and says for each
// during which epoch it did not change.
//
//   mark(k-1) ── read block, hash it ── mark(k) ── ······ ── mark(k+1)
//                └ neither in portion k nor in k+1: so it was the same at these marks, and the backup can compare it with
//                  its replica as of k or k+1, whichever it has
//
// Portion k alone would do, but for writes that are under way at a mark, as Xen's guests have them: such a one may be on the disk
// when it is read, and in the log after the mark.
//
// What was written meanwhile is read again, in smaller blocks, soon after a mark. A block that is written again and again
// is left out in the end, and counted.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "checkpoint/page_hash.hpp"
#include "disk/disk_reader.hpp"
#include "disk/write_log.hpp"
#include "engine/types.hpp"
#include "hypervisor/guest_disks.hpp"
#include "link/messages.hpp"

namespace remus::guard {

class DiskVerifier final {
 public:
  static constexpr std::uint32_t block_bytes = 64U << 10U;        ///< first
  static constexpr std::uint32_t small_block_bytes = 4U << 10U;   ///< when read again
  static constexpr std::uint64_t epoch_bytes_max = 32ULL << 20U;  ///< read in one epoch
  static constexpr int passes_max = 50;
  static constexpr unsigned epochs_unchanged = 2;  ///< the one in which it is read, and more

  struct Source {
    std::uint64_t bytes{};
    std::shared_ptr<const disk::WriteLog> log{};
    hypervisor::GuestDisks::Reading reading{};
  };

  /// Reads on a thread of its own. `session` is the seed of the hashes.
  DiskVerifier(std::uint64_t id, engine::Session session, std::vector<Source> sources);
  ~DiskVerifier();
  DiskVerifier(const DiskVerifier&) = delete;
  DiskVerifier& operator=(const DiskVerifier&) = delete;

  /// What is to follow the epoch that ended with these marks, before the next one. In the end one that is marked last.
  [[nodiscard]] std::vector<link::Message> take(const std::vector<disk::PortionNumber>& marks);
  /// The last word was taken.
  [[nodiscard]] bool finished() const;
  /// Bytes whose hashes have been taken.
  [[nodiscard]] std::uint64_t told_bytes() const;
  /// Bytes that could not be compared: written in every epoch, or not readable.
  [[nodiscard]] std::uint64_t left_out_bytes() const;

 private:
  struct Chunk {
    std::size_t disk{};
    std::uint64_t offset{};
    std::uint64_t bytes{};
    std::uint32_t block_bytes{};
    disk::PortionNumber portion{};  ///< 0: it was read across a mark
    std::vector<checkpoint::Hash128> hashes{};
    std::vector<bool> changed{};  ///< a block each
    unsigned epochs{};            ///< that have ended since it was read
  };
  class Sink;

  void run(const std::stop_token& stop);
  void read(std::size_t disk, std::uint32_t unit, const std::stop_token& stop);
  [[nodiscard]] bool has_room() const;
  void add(Chunk chunk);
  /// Of the epoch that ended with this mark.
  void note_changes(Chunk& chunk, disk::PortionNumber mark) const;
  void tell(const Chunk& chunk, std::vector<link::Message>& out);
  void say(const Chunk& chunk, std::size_t first, std::size_t end, std::vector<link::Message>& out) const;

  std::uint64_t id_;
  checkpoint::PageHasher hasher_;
  std::vector<Source> sources_;

  mutable std::mutex mutex_{};
  std::condition_variable_any taken_{};
  std::vector<Chunk> read_{};                            ///< not told yet
  std::vector<std::vector<disk::CopyRange>> to_read_{};  ///< per disk
  std::uint64_t epoch_bytes_{};
  std::uint64_t takes_{};
  std::uint64_t told_bytes_{};
  std::uint64_t left_out_bytes_{};
  bool all_read_{};
  bool finished_{};

  std::jthread thread_{};
};

}  // namespace remus::guard
