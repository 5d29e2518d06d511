// What the backup's replicas hold, asked for a little ahead of where the primary copies its disks, so that what is equal
// need not be sent.
//
// Who does not answer, or cannot, costs only that more is copied. Bounded: `ahead_max` answers of some KiB.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <vector>

#include "disk/disk_reader.hpp"
#include "link/messages.hpp"

namespace remus::guard {

class ReplicaHashes final {
 public:
  static constexpr std::uint32_t block_bytes = 64U << 10U;
  static constexpr std::uint64_t piece_bytes = 32U << 20U;  ///< asked for at once
  static constexpr std::size_t ahead_max = 4;               ///< pieces
  static constexpr std::chrono::seconds silence_max{120};   ///< then nothing more is asked in this session

  using Ask = std::function<void(const link::DiskHashesWanted&)>;  ///< any thread's

  // --- capture thread ---
  void begin(engine::Session session, Ask ask);
  /// The disk's ranges, which begin at multiples of a block, in pieces. What is asked of another disk is forgotten.
  void choose(std::uint16_t disk, const std::vector<disk::CopyRange>& ranges);
  /// The next piece, in order; nullopt: there is none. `known`: what the replica holds of it, if the backup says so in time.
  struct Piece {
    disk::CopyRange range{};
    std::optional<link::DiskHashes> known{};
  };
  [[nodiscard]] std::optional<Piece> next(const std::stop_token& stop);

  // --- main loop ---
  void answered(link::DiskHashes answer);

 private:
  struct Asked {
    link::DiskHashesWanted what{};
    std::optional<link::DiskHashes> answer{};
  };

  std::mutex mutex_{};
  std::condition_variable_any changed_{};
  std::vector<Asked> asked_{};  ///< by the order in which they are needed
  // capture thread's
  engine::Session session_{};
  Ask ask_{};
  std::uint16_t disk_{};
  std::vector<disk::CopyRange> pieces_{};
  std::size_t next_{};
  std::size_t to_ask_{};
  bool silent_{};
};

}  // namespace remus::guard
