// A host's disks in the simulator: the product's own journal and replicas (`src/disk`), on storage whose power is cut
// when the host crashes.
//
// A guest's disk content is a few numbers, each filling a stretch of a disk that is larger than a sector: one that is
// written in part is none of the numbers. Writes are lost, torn and mixed up below the replicas; what the guest finds
// after an activation, and the host after a crash, is compared with what the truth knows of the epoch (S4).
//
// A session's copy is one by comparison, as the product's: a number that the replica held when the session began is left out,
// whoever wrote it there, and however durable it is.
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

  /// What the replicas hold then is told to the primary (its hashes, in the product).
  void begin_session(Session session);
  /// Some of an epoch's writes came. Before those of epoch 0 comes what the replicas lack of the guest's disk as it was a little
  /// earlier; what has changed since is what that epoch wrote.
  void part(Epoch epoch, const DiskContent& content, std::uint8_t written);
  /// All of them did: the epoch is whole.
  void whole(Epoch epoch, const DiskContent& content, std::uint8_t written);
  void torn() noexcept;
  /// So many numbers of this session's copy were left out.
  [[nodiscard]] std::size_t left_out() const noexcept { return left_out_; }
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
  void copy(const DiskContent& content);

  CrashStorage storage_;
  std::unique_ptr<disk::ReplicaSet> set_{};
  Session session_{};
  Epoch told_{};
  bool active_{};             ///< a guest was started from them
  std::uint32_t held_{};      ///< batches of the epoch under way
  bool half_{};               ///< the first of them came already
  DiskContent hashed_{};      ///< when the session began
  std::uint8_t overtaken_{};  ///< numbers that the guest wrote while they were copied
  std::size_t left_out_{};
};

}  // namespace remus::sim
