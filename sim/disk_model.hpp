// A host's disks in the simulator: the product's own journal and replicas (`src/disk`), on storage whose power is cut
// when the host crashes.
//
// A guest's disk content is a few numbers, each filling a stretch of a disk that is larger than a sector: one that is
// written in part is none of the numbers. Writes are lost, torn and mixed up below the replicas; what the guest finds
// after an activation, and the host after a crash, is compared with what the truth knows of the epoch (S4).
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "crash_storage.hpp"
#include "disk/replica_set.hpp"
#include "truth.hpp"

namespace remus::sim {

class DiskModel final {
 public:
  explicit DiskModel(std::uint64_t seed);

  /// The guest's disk at the beginning of a session's epoch 0 is brought, and the rest comes as that epoch's writes.
  void begin_session(Session session);
  /// Some of an epoch's writes came.
  void part(Epoch epoch, const DiskContent& content, std::uint8_t written);
  /// All of them did: the epoch is whole.
  void whole(Epoch epoch, const DiskContent& content, std::uint8_t written);
  void torn() noexcept;
  /// Returns what the replicas hold then.
  DiskContent apply(Epoch epoch);
  DiskContent activate(Epoch epoch);

  void process_died() noexcept { set_.reset(); }
  void power_cut();
  /// A guard starts: what does it find? Nothing: replicas that stand for nothing.
  struct Found {
    Session session{};
    Epoch epoch{};
    DiskContent content{};
  };
  std::optional<Found> start();
  /// Epochs before it were told to survive this host's death; 0 if none.
  [[nodiscard]] Epoch told() const noexcept { return told_; }
  [[nodiscard]] Session session() const noexcept { return session_; }

 private:
  void open();
  void hold(const DiskContent& content, std::uint8_t written);
  [[nodiscard]] DiskContent read();

  CrashStorage storage_;
  std::unique_ptr<disk::ReplicaSet> set_{};
  Session session_{};
  Epoch told_{};
  bool active_{};         ///< a guest was started from them
  std::uint32_t held_{};  ///< batches of the epoch under way
  bool half_{};           ///< the first of them came already
};

}  // namespace remus::sim
