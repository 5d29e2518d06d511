// The backup's copies of a guest's disks. After an activation, and after any death of this host, they hold exactly the
// writes of a row of whole epochs (S4).
//
//                 hold … hold, commit(k)            apply(k)
//   link ────────▶ journal ═══════════▶ durable ═══════════▶ replicas ──▶ settle(): durable, journal dropped
//                  └ torn: drop_torn()
//
// Before epoch 0 the replicas stand for nothing; what comes then is written straight to them. All disks of a guest are
// one commit: one journal, one record of what they are.
//
// Two threads: hold, commit and drop_torn on the receiver's, all others on the applier's. begin_session, activate and
// recover while the other one rests.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "disk/journal.hpp"
#include "disk/replica_record.hpp"
#include "disk/write_batch.hpp"

namespace remus::disk {

struct ReplicaDisk {
  std::string name{};  ///< for people: the path
  std::unique_ptr<StorageFile> file{};
  std::uint64_t bytes{};  ///< the guest's disk's
};

struct ReplicaSettings {
  JournalSettings journal{};
  std::uint64_t settle_bytes = 32ULL << 20;  ///< applied before settle() is due
};

class ReplicaSet final {
 public:
  /// An empty file becomes as large as the disk; any other size than the disk's is refused. `folder` must outlive it.
  /// Errors: incompatible (size), exhausted, io.
  [[nodiscard]] static Result<std::unique_ptr<ReplicaSet>> open(StorageFolder& folder,
                                                                std::vector<ReplicaDisk> disks,
                                                                const ReplicaSettings& settings = {});

  /// What is committed is applied and made durable, since the primary counts on it; then, durably, the replicas stand for
  /// nothing until epoch 0 of this session. Errors: exhausted, io.
  [[nodiscard]] Status begin_session(std::uint64_t session);
  /// A batch of the synchronization: straight to the replica. Errors: corrupt, exhausted, io.
  [[nodiscard]] Status synchronize(std::span<const std::byte> payload);

  /// A batch of the epoch under way. Errors: corrupt, exhausted, io: the epoch cannot become whole.
  [[nodiscard]] Result<WriteBatchSummary> hold(std::span<const std::byte> payload);
  /// The epoch is whole if so many batches came: from now on it can be acknowledged. Errors: corrupt (another count, or not
  /// this epoch's turn), exhausted, io.
  [[nodiscard]] Status commit(Epoch epoch, std::uint32_t batches);
  /// The link broke in the midst of an epoch.
  void drop_torn() noexcept;

  /// Writes a committed epoch, the next one, to the replicas. Errors: exhausted, io, corrupt: nothing that was acknowledged
  /// is lost, and it may be tried again; unless making durable failed, which stays.
  [[nodiscard]] Status apply(Epoch epoch);
  /// So much was applied that settle() is due: what it takes grows with it, and an activation waits for it.
  [[nodiscard]] bool wants_settling() const noexcept { return unsettled_bytes_ >= settings_.settle_bytes; }
  /// What was applied becomes durable and the journal is shortened. Errors: exhausted, io.
  [[nodiscard]] Status settle();
  /// The epochs up to this one, all committed, are applied and durable, and the replicas are the guest's disks from now on: a
  /// later recovery leaves them alone. What was committed beyond is not the guest's. Idempotent.
  [[nodiscard]] Status activate(Epoch last);

  /// Epochs before it are committed. Receiver's thread.
  [[nodiscard]] Epoch committed_end() const noexcept;
  [[nodiscard]] Epoch applied_end() const noexcept {
    return applied_end_;
  }  ///< epochs before it are in the replicas
  /// So many epochs of its session the replicas hold, or will once begin_session() has applied them; 0: they are not whole.
  /// While the receiver's thread rests.
  [[nodiscard]] Epoch whole_end() const noexcept;
  /// Epochs before it survive the death of this host: the primary need not remember what they wrote.
  [[nodiscard]] Epoch survives() const noexcept;
  [[nodiscard]] std::size_t disks() const noexcept { return disks_.size(); }
  [[nodiscard]] std::uint64_t bytes(DiskIndex disk) const { return disks_.at(disk).bytes; }
  [[nodiscard]] StorageFile& file(DiskIndex disk) { return *disks_.at(disk).file; }

  struct Recovered {
    std::uint64_t session{};
    Epoch epoch{};  ///< the last one the replicas hold
  };
  /// After a start of this host: makes the replicas whole. Errors: not_found (nothing known), refused (they were being
  /// synchronized, or a guest was started from them), incompatible (other disks), corrupt, exhausted, io.
  [[nodiscard]] Result<Recovered> recover();

 private:
  ReplicaSet(StorageFolder& folder, std::vector<ReplicaDisk> disks, const ReplicaSettings& settings);

  [[nodiscard]] ReplicaRecord record(ReplicaPhase phase, Epoch epoch) const;
  [[nodiscard]] Status write(std::span<const std::byte> payload);
  [[nodiscard]] Status make_durable();
  [[nodiscard]] Status first_epoch();
  [[nodiscard]] Status finish(Epoch end);

  StorageFolder& folder_;
  std::vector<ReplicaDisk> disks_;
  ReplicaSettings settings_;
  WriteBatchDecoder receiver_;
  WriteBatchDecoder applier_;
  std::unique_ptr<Journal> journal_{};
  std::uint64_t session_{};
  bool journaled_{};  ///< the record says so
  Epoch recovered_end_{};
  std::optional<Epoch> activated_{};
  std::atomic<Epoch> applied_end_{};
  std::atomic<Epoch> survives_{};
  std::uint64_t unsettled_bytes_{};
  Status failed_{};  ///< making replicas durable
};

}  // namespace remus::disk
