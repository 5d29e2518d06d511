// The primary's slow path: capture and encoding, each on a thread of its own, off the event loop.
//
//   main loop   synchronize / capture ──▶ [capture thread] ──pages──▶ [encode thread] ──Outbound──▶ main
//   loop: Sender
//               ◀── synchronized / captured / ready ──┘
//
// The capture thread alone talks to the Domain; the encode thread alone owns what the backup is known to hold
// (hashes, cached pages, last device state). Events arrive on the main loop in the order they happened:
// captured(k) before the encoded epoch k. Every job belongs to a session; what is left of an abandoned one is
// dropped.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "checkpoint/batch_encoder.hpp"
#include "checkpoint/device_codec.hpp"
#include "checkpoint/epoch_buffer.hpp"
#include "guard/memory_verifier.hpp"
#include "guard/options.hpp"
#include "guard/outbound.hpp"
#include "guard/primary_disks.hpp"
#include "guard/sync_sink.hpp"
#include "guard/worker.hpp"
#include "hypervisor/domain.hpp"
#include "output/output_buffer.hpp"

namespace remus::guard {

/// What the encoders of pages and disk writes go by.
[[nodiscard]] checkpoint::EncoderSettings encoder_settings(const GuestOptions& options);

class Pipeline final {
 public:
  /// All called on the main loop.
  struct Events {
    std::function<void(engine::Session, const checkpoint::Layout&)> layout_known{};
    std::function<void(engine::Session, hypervisor::SyncProgress)> progress{};
    std::function<void(engine::Session, const hypervisor::CaptureReport&)> synchronized{};
    std::function<void(engine::Session, const Error&)> sync_failed{};
    std::function<void(engine::Session, engine::Epoch, const hypervisor::CaptureReport&,
                       std::uint64_t disk_bytes)>
        captured{};
    std::function<void(engine::Session, const Error&)> capture_failed{};
    std::function<void(engine::Session)> ready{};
    std::function<void(Outbound)> encoded{};
    /// The encoder failed: nothing more of this session can be sent.
    std::function<void(engine::Session, const Error&)> encode_failed{};
    std::function<void()> detached{};
    /// All of the disks that the backup lacked is on its way.
    std::function<void(engine::Session, PrimaryDisks::Progress)> disks_copied{};
    /// What the backup's replicas hold is to be asked.
    std::function<void(const link::DiskHashesWanted&)> hashes_wanted{};
    /// The verification of that number cannot be done, and nothing of it is sent.
    std::function<void(std::uint64_t id, const Error&)> verify_failed{};
    /// Disk writes use much of their room: the running epoch should end.
    std::function<void()> disks_press{};
  };

  /// `disks` may be null: then the guest has none that are replicated.
  Pipeline(boost::asio::io_context& io, hypervisor::Domain& domain, output::OutputBuffer& output,
           std::unique_ptr<PrimaryDisks> disks, const GuestOptions& options, Events events);
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  ~Pipeline();  ///< interrupts, detaches from the guest, joins

  void synchronize(engine::Session session);
  /// The backup's answer to layout_known: hashes it offers (any number of times), then ready.
  void offer(engine::Session session, checkpoint::PageIndex first, link::Payload hashes);
  /// `disks_base`: the session of whose disks it has replicas, of ours; 0: of none.
  void backup_ready(engine::Session session);
  void disks_base(engine::Session base) { disks_base_ = base; }
  void disk_hashes(link::DiskHashes answer);

  void capture(engine::Session session, engine::Epoch epoch);
  /// Of the guest's memory: hashes of a slice are sent with an epoch. If disks are asked for, those of all their blocks
  /// follow the last slice with the next epochs.
  [[nodiscard]] MemoryVerifier& verifier() noexcept { return memory_verifier_; }
  /// Bytes of disks whose hashes the verification under way has sent.
  [[nodiscard]] std::uint64_t verified_disk_bytes() const noexcept { return verified_disk_bytes_; }
  /// Bytes of disks that the verification which ended last could not compare.
  [[nodiscard]] std::uint64_t left_out_bytes() const noexcept { return left_out_bytes_; }

  /// Leaves checkpointing; the guest runs on. Everything of the session is dropped; detached() follows. Its disks are
  /// followed on, so that a next session need not copy all of them; unless it is `for_good`.
  void abandon(bool for_good = false);

  /// The backup holds all epochs ≤ `upto`.
  void release(engine::Epoch upto);
  /// It holds the disk writes of epochs before `end` even if its host dies.
  void survives(engine::Epoch end);
  [[nodiscard]] const PrimaryDisks* disks() const noexcept { return disks_.get(); }

  /// What the link is limited to, for the choice of a compression; 0: not limited, then a usual link is
  /// assumed.
  void set_link_rate(std::uint64_t bytes_per_s);
  /// Of reading disks while they are copied; 0: no limit.
  void set_copy_rate(std::uint64_t bytes_per_s) noexcept;
  /// What that choice goes by now.
  [[nodiscard]] std::uint64_t link_rate() const noexcept { return link_rate_; }
  [[nodiscard]] checkpoint::EncoderStats encoder_stats() const;
  /// Of the guest's memory, once a synchronization has told it.
  [[nodiscard]] std::optional<checkpoint::Layout> known_layout() const;

 private:
  struct State;  ///< the encode thread's: table, cache, encoders, pool

  void run_synchronize(engine::Session session);
  bool copy_disks(engine::Session session);
  void watch_disks(const std::stop_token& stop);
  void drain_disks();
  void run_capture(engine::Session session, engine::Epoch epoch);
  void announce_ready(engine::Session session);
  bool wait_for_backup(engine::Session session, const checkpoint::Layout& layout);
  void encode_segment(engine::Session session, const std::shared_ptr<SyncSink>& sink,
                      const SyncSink::Segment& segment);
  void encode_epoch(engine::Session session, engine::Epoch epoch,
                    std::shared_ptr<checkpoint::EpochBuffer> buffer, const PrimaryDisks::Marks& marks);
  void encode_first(engine::Session session, const std::shared_ptr<SyncSink>& sink,
                    const PrimaryDisks::Marks& marks);
  /// The epoch's disk writes; null where no disks are replicated. Tells of an error itself: then false.
  bool encode_disks(engine::Session session, const PrimaryDisks::Marks& marks, Outbound& item);
  void send_hashes(engine::Session session, engine::Epoch epoch, const MemoryVerifier::Slice& slice,
                   std::vector<DiskVerifier::Source> disks);
  void send_disk_hashes(engine::Session session, engine::Epoch epoch, const PrimaryDisks::Marks& marks);
  [[nodiscard]] Status prepare_state(engine::Session session, const checkpoint::Layout& layout);
  [[nodiscard]] std::shared_ptr<checkpoint::EpochBuffer> take_buffer(const checkpoint::Layout& layout);
  [[nodiscard]] bool current(engine::Session session) const noexcept { return session_.load() == session; }
  void post(std::function<void()> event);
  void finish_encoding(engine::Session session, Outbound item);

  boost::asio::io_context& io_;
  hypervisor::Domain& domain_;
  output::OutputBuffer& output_;
  std::unique_ptr<PrimaryDisks> disks_;
  GuestOptions options_;  ///< its bandwidth: encode thread only
  Events events_;

  std::atomic<engine::Session> session_{0};
  MemoryVerifier memory_verifier_{};
  std::atomic<std::uint64_t> verified_disk_bytes_{0};
  std::atomic<std::uint64_t> left_out_bytes_{0};
  std::atomic<std::uint64_t> link_rate_{0};
  std::atomic<engine::Session> disks_base_{0};
  std::atomic<engine::Session> draining_{0};  ///< the session whose disks are being synchronized; 0: none
  std::atomic<bool> drain_waits_{false};      ///< posted, not begun
  std::atomic<std::uint64_t> compared_bytes_{0};

  // capture thread waits here for the backup, and for a free buffer
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  engine::Session backup_ready_for_{0};
  std::vector<std::unique_ptr<checkpoint::EpochBuffer>> free_buffers_{};
  std::size_t buffers_{0};
  std::optional<checkpoint::Layout> layout_{};
  std::optional<Error> refused_{};  ///< why the session of now cannot be; capture thread only
  std::shared_ptr<SyncSink> sync_sink_{};

  std::unique_ptr<State> state_;
  std::unique_ptr<DiskVerifier> verifier_{};  ///< encode thread's
  // Threads last: joined first, in this order: no capture, then nothing more to encode.
  std::unique_ptr<Worker> encode_;
  std::unique_ptr<Worker> capture_;
  std::jthread disk_watch_;  // before them: it posts to encode_
};

}  // namespace remus::guard
