// The replicated disks of a running guest: followed, copied, and cut into epochs with its memory.
//
//   guest's writes ─▶ NbdServer ─▶ WriteInlet ─▶ WriteLog of this session ─▶ portions ─▶ batches
//                                                   │ copy() reads what was there before, and takes what differs
//                                                   └ ResyncMap: what a replica of an earlier session lacks
//
// A session:  begin() ─ copy() ······ mark() of epoch 0 ─ mark() of epoch 1 ─ ...
//                     └ drain(), drain(), ... ┘ encode(0)    encode(1)
//
// Between sessions the guest's writes are still followed, so that the next one looks at only what has changed; nobody waits
// for anything then. The map is in memory: after the death of a guard it begins with what the hypervisor has recorded, and where
// there is no record all is looked at.
//
// Which thread calls what is said at each; stop() and state() are for any.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "checkpoint/packer.hpp"
#include "disk/nbd_server.hpp"
#include "disk/resync_map.hpp"
#include "disk/write_batch.hpp"
#include "engine/types.hpp"
#include "guard/disk_batches.hpp"
#include "guard/disk_verifier.hpp"
#include "guard/disks_base.hpp"
#include "guard/epoch_cuts.hpp"
#include "guard/replica_hashes.hpp"
#include "guard/write_inlet.hpp"
#include "hypervisor/guest_disks.hpp"

namespace remus::guard {

struct PrimaryDiskSettings {
  std::filesystem::path spill_dir{};  ///< on a disk: for writes that wait for the link
  std::filesystem::path map_dir{};    ///< in memory
  disk::ChunkPool::Limits room{};
  checkpoint::Compression compression{};
  std::uint64_t link_bytes_per_s{};
  std::uint64_t copy_bytes_per_s{};  ///< 0: no limit
  /// A record is begun so often: what a successor looks at was written since the one before.
  std::chrono::milliseconds record_interval{10'000};
};

class PrimaryDisks final {
 public:
  /// Nothing is done to the guest yet. Errors: exhausted, io.
  [[nodiscard]] static Result<std::unique_ptr<PrimaryDisks>> create(
      std::unique_ptr<hypervisor::GuestDisks> guest, PrimaryDiskSettings settings);
  ~PrimaryDisks();  ///< leaves the guest's write path
  PrimaryDisks(const PrimaryDisks&) = delete;
  PrimaryDisks& operator=(const PrimaryDisks&) = delete;

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }  ///< of all disks

  // --- capture thread ---
  /// In the guest's write path, with new logs.
  Status begin(engine::Session session);
  /// Copies what a replica of session `base` may lack (0: everything), but for what it holds already: the backup is asked
  /// by `ask`, and answers by answered(). `progress` is called often: be quick. Errors: closed (stopped), io, exhausted.
  struct Progress {
    std::uint64_t done_bytes{};  ///< compared, and copied where they differ
    std::uint64_t total_bytes{};
    std::uint64_t copied_bytes{};
  };
  Status copy(engine::Session base, ReplicaHashes::Ask ask, const std::function<void(Progress)>& progress);
  /// Where the disks are cut; all writes of an epoch lie between its predecessor's marks and its own.
  struct Marks {
    std::vector<disk::PortionNumber> portions{};
    std::uint64_t bytes{};  ///< of data written since the last ones
    bool nothing{true};     ///< not even a zero or a trim
  };
  /// The guest is paused, its writes are drained. No allocation to speak of.
  [[nodiscard]] Marks mark(engine::Epoch epoch);
  /// After the pause, and before its epoch is told of: an error if the epoch lacks writes.
  [[nodiscard]] Status intact();
  /// Their present content can be read there until end_reading(), and what is written meanwhile is in the log.
  [[nodiscard]] Result<std::vector<DiskVerifier::Source>> open_for_reading();
  void end_reading();
  /// Has the hypervisor record what is written, so that somebody knows after our death. After an epoch's pause: takes a moment.
  void keep_record(engine::Epoch marked);
  /// Out of the guest's write path. Idempotent.
  void leave();

  // --- encode thread ---
  /// What was written and copied since the last call, before epoch 0; null if that is nothing, or must wait for the link.
  [[nodiscard]] Result<std::shared_ptr<const DiskBatches>> drain();
  /// All up to the marks that was not drained.
  [[nodiscard]] Result<std::shared_ptr<const DiskBatches>> encode(const Marks& marks);
  void link_rate(std::uint64_t bytes_per_s) { encoder_.link_rate(bytes_per_s); }

  // --- main loop ---
  void answered(link::DiskHashes answer) { hashes_.answered(std::move(answer)); }
  /// The replicas that our maps are about. After begin().
  [[nodiscard]] DisksBase base() const;
  /// The backup holds all epochs ≤ `upto`.
  void release(engine::Epoch upto);
  /// Epochs before `end` survive the death of the backup's host.
  void survives(engine::Epoch end);

  // --- any thread ---
  /// The session is over: copying ends, nobody waits for room any more.
  void stop();
  /// Why the session's epochs would lack writes.
  [[nodiscard]] Status state() const;
  /// Disks are read no faster while they are copied, one under way included; 0: as fast as the link takes it.
  void copy_rate(std::uint64_t bytes_per_s) noexcept { copy_rate_ = bytes_per_s; }
  [[nodiscard]] bool wants_mark() const;

  struct Report {
    std::string name{};
    std::uint64_t bytes{};
    bool broken{};
    std::uint64_t writes{};
    std::uint64_t written_bytes{};
    std::uint64_t waiting_bytes{};   ///< not yet held by the backup
    std::uint64_t compared_bytes{};  ///< of total_bytes, in this session
    std::uint64_t total_bytes{};
    std::uint64_t copied_bytes{};  ///< of those compared: they differed
    std::uint64_t resync_bytes{};  ///< what a replica may lack
  };
  [[nodiscard]] std::vector<Report> report() const;

 private:
  struct One {
    hypervisor::GuestDisk facts{};
    std::shared_ptr<disk::ResyncMap> map{};  ///< guarded by mutex_
    WriteInlet inlet{};
    std::unique_ptr<disk::NbdServer> server{};
    std::shared_ptr<disk::WriteLog> log{};  ///< guarded by mutex_
    disk::PortionNumber marked{};           ///< guarded by mutex_
    std::atomic<disk::PortionNumber> encoded{};
    std::atomic<bool> lost{true};  ///< nothing comes in any more
    std::atomic<std::uint64_t> compared_bytes{};
    std::atomic<std::uint64_t> to_compare_bytes{};
  };
  /// So much may be on its way to the link before copying waits.
  static constexpr std::size_t out_bytes_max = 32UL << 20;
  struct Record {
    engine::Session session{};
    engine::Epoch epoch{};  ///< begun before it was marked: has what was written since
    [[nodiscard]] std::string name() const;
    static std::optional<Record> named(const std::string& name);
    bool operator==(const Record&) const = default;
  };

  PrimaryDisks(std::unique_ptr<hypervisor::GuestDisks> guest, PrimaryDiskSettings settings,
               std::shared_ptr<disk::ChunkPool> pool);
  [[nodiscard]] Status new_map(One& one, disk::ResyncMap::Begin begin = disk::ResyncMap::Begin::dirty) const;
  Status begin_one(std::size_t index, disk::ResyncMap::Begin map_begins);
  /// What the hypervisor says of them.
  Status note_broken();
  /// What can be known of disks that nobody followed.
  [[nodiscard]] std::optional<Record> find_record();
  void take_record(const Record& record, const std::vector<std::size_t>& disks);
  Status copy_one(std::size_t index, const std::vector<disk::DirtyRange>& dirty,
                  const std::function<void(std::uint64_t)>& progress);
  [[nodiscard]] std::shared_ptr<disk::WriteLog> log_of(const One& one) const;
  [[nodiscard]] std::shared_ptr<disk::ResyncMap> map_of(const One& one) const;
  [[nodiscard]] Marks mark_locked();
  [[nodiscard]] Result<std::shared_ptr<const DiskBatches>> encode_upto(const Marks& marks, bool release);

  std::unique_ptr<hypervisor::GuestDisks> guest_;
  PrimaryDiskSettings settings_;
  std::shared_ptr<disk::ChunkPool> pool_;
  std::uint64_t bytes_{};
  disk::WriteBatchEncoder encoder_;
  std::shared_ptr<DiskBatches::Account> account_{std::make_shared<DiskBatches::Account>()};
  std::atomic<std::uint64_t> copy_rate_;
  engine::Session session_{};  ///< capture thread's
  ReplicaHashes hashes_{};
  // capture thread's
  engine::Session recorded_session_{};
  std::vector<Record> records_{};  ///< kept for this session, oldest first
  std::optional<std::chrono::steady_clock::time_point> recorded_{};

  mutable std::mutex mutex_{};
  std::vector<std::unique_ptr<One>> disks_{};
  std::stop_source stop_{};
  bool cut_into_epochs_{};       ///< epoch 0 is marked: what comes is of an epoch
  EpochCuts cuts_{};             ///< of this session
  engine::Epoch base_epochs_{};  ///< what base() asks of the replicas
};

}  // namespace remus::guard
