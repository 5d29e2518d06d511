// The backup's copy of the guest: what is received, held, checked, applied and, at a failover, activated.
//
//   link ──▶ assembly (main loop) ──▶ [check thread] validate, decode device state ──▶ whole: may be acknowledged
//                                          │
//   engine: Apply k ─────────────────▶ [apply thread] batches → image, image hash compared ──▶ applied
//   engine: Activate ────────────────▶ [apply thread] standby starts from the image and the last device state
//
// Only whole epochs reach the apply thread, in order; what is not whole is thrown away by discard_torn(). Synchronization pages
// are applied as they come: the image is void until epoch 0 is whole anyway. All events arrive on the main loop.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/batch_decoder.hpp"
#include "checkpoint/device_codec.hpp"
#include "checkpoint/image.hpp"
#include "engine/types.hpp"
#include "guard/backup_disks.hpp"
#include "guard/disks_base.hpp"
#include "guard/worker.hpp"
#include "hypervisor/standby.hpp"
#include "link/messages.hpp"

namespace remus::guard {

class Replica final {
 public:
  struct Events {
    /// Whether this host has what the standby needs.
    std::function<void(const Status&)> built{};
    /// The standby stands and waits for the synchronization. `hashes_follow`: offers come next.
    /// `disks_base`: as asked for, if what the disks hold is of that session; else 0.
    std::function<void(engine::Session, bool hashes_follow, engine::Session disks_base)> prepared{};
    std::function<void(link::HashOffer)> offer{};
    std::function<void(link::DiskHashes)> disk_hashes{};
    std::function<void(engine::Session, const Error&)> prepare_failed{};
    /// An epoch is here, whole and well-formed.
    std::function<void(engine::Session, engine::Epoch)> whole{};
    /// What came is not what a sound primary sends.
    std::function<void(engine::Session, const Error&)> malformed{};
    std::function<void(engine::Session, engine::Epoch)> applied{};
    std::function<void(engine::Session, const Error&)> apply_failed{};
    /// So many bulk bytes of the link need no memory any more.
    std::function<void(std::size_t)> consumed{};
    std::function<void(const hypervisor::ActivationReport&)> activated{};
    std::function<void(const Error&)> activation_failed{};
    std::function<void()> discarded{};
    std::function<void(const Error&)> standby_lost{};
    std::function<void(link::VerifyResult)> verified{};
  };

  Replica(boost::asio::io_context& io, std::unique_ptr<hypervisor::Standby> standby, BackupDisks disks,
          Events events);
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;
  ~Replica();

  /// A new session: what is held of the old one is dropped, its image is void. Nothing is built yet.
  void begin(engine::Session session);
  /// Takes what the standby needs of this host before any session: `built` tells.
  void build(hypervisor::GuestDescription guest);
  /// Builds the standby, or keeps the one there is if it fits, and offers what its image holds.
  void prepare(engine::Session session, hypervisor::GuestDescription guest, checkpoint::Layout layout,
               bool wants_hashes, DisksBase disks_base);

  // What came over the link, with the bytes it counts against the window.
  void receive(link::SyncPages message, std::size_t bulk_bytes);
  void receive(const link::EpochBegin& message, std::size_t bulk_bytes);
  void receive(link::EpochPages message, std::size_t bulk_bytes);
  void receive(link::DiskSync message, std::size_t bulk_bytes);
  void receive(const link::DiskHashesWanted& message);
  void receive(link::DiskWrites message, std::size_t bulk_bytes);
  void receive(const link::EpochDevice& message, std::size_t bulk_bytes);
  void receive(const link::EpochEnd& message, std::size_t bulk_bytes);
  void receive(const link::VerifyBegin& message, std::size_t bulk_bytes);
  void receive(link::VerifyHashes message, std::size_t bulk_bytes);
  void receive(link::VerifyDiskHashes message, std::size_t bulk_bytes);

  void discard_torn();
  void apply(engine::Session session, engine::Epoch epoch);
  /// The guest as of `epoch`, which is the newest one applied. Nothing more of the session is taken.
  void activate(engine::Epoch epoch);
  void discard();
  /// Asks whether the standby is still alive; standby_lost follows if not.
  void check_health();

  /// Disk writes of epochs before it survive the death of this host; 0: of none.
  [[nodiscard]] engine::Epoch survives() const noexcept {
    return disks_.replicas ? disks_.replicas->survives() : 0;
  }
  [[nodiscard]] std::size_t held_bytes() const noexcept { return held_bytes_; }
  [[nodiscard]] nlohmann::json handle() const { return standby_->handle(); }

 private:
  /// What is held beyond this is not credited before it is applied: back-pressure.
  static constexpr std::size_t hold_bytes_soft_max = 256UL << 20;

  struct HeldEpoch {
    engine::Epoch epoch{};
    std::vector<link::Payload> batches{};
    std::vector<std::byte> device_packed{};
    std::vector<std::byte> device_state{};  ///< check thread fills it
    std::optional<Error> fault{};           ///< check thread
    checkpoint::Hash128 image_hash{};
    std::uint32_t disk_batches{};
    std::uint64_t disk_bytes{};
    std::size_t bulk_bytes{};
  };
  struct Verification {
    link::VerifyBegin begin{};
    std::vector<link::VerifyHashes> parts{};
    bool complete{false};
    bool applied{false};
  };

  void post(std::function<void()> event);
  void malformed(engine::Session session, std::string what);
  void credit(std::size_t bytes);
  void settle_credit();
  void check_batch(std::shared_ptr<HeldEpoch> held, link::Payload batch);
  void check_end(engine::Session session, std::shared_ptr<HeldEpoch> held);
  void became_whole(engine::Session session, const std::shared_ptr<HeldEpoch>& held);
  void apply_now(engine::Session session, const std::shared_ptr<HeldEpoch>& held);
  void compare_if_ready();
  [[nodiscard]] bool current(engine::Session session) const noexcept { return session_.load() == session; }
  [[nodiscard]] Status prepare_now(const hypervisor::GuestDescription& guest,
                                   const checkpoint::Layout& layout);
  void offer_hashes(engine::Session session);
  void activate_on_thread(engine::Epoch epoch);
  void prepare_on_thread(engine::Session session, const hypervisor::GuestDescription& guest,
                         const checkpoint::Layout& layout, bool wants_hashes, DisksBase disks_base);
  /// The disks' part of what is done to memory (replica_disks.cpp).
  Status begin_disks(engine::Session session, DisksBase& base);
  [[nodiscard]] link::DiskHashes hash_disk(const link::DiskHashesWanted& wanted);
  Status commit_disks(const HeldEpoch& held);
  Status apply_disks(engine::Epoch epoch);
  void settle_disks(engine::Session session);
  Status activate_disks(engine::Epoch epoch);
  /// Compares what is comparable with the replicas as they are now (replica_verify.cpp).
  void compare_disks(engine::Session session);
  void compare_blocks(const link::VerifyDiskHashes& expected);

  /// Blocks that are the same at the ends of `epoch` and of its predecessor.
  struct DiskHashes {
    engine::Epoch epoch{};
    link::VerifyDiskHashes hashes{};
  };

  boost::asio::io_context& io_;
  Events events_;

  // main loop
  std::atomic<engine::Session> session_{0};
  std::shared_ptr<HeldEpoch> assembling_{};
  std::map<engine::Epoch, std::shared_ptr<HeldEpoch>> whole_{};
  bool first_whole_{false};  ///< epoch 0 was told to be whole; before that, no other is
  std::deque<std::pair<engine::Session, std::shared_ptr<HeldEpoch>>> deferred_{};  ///< behind a verification
  std::optional<Verification> verification_{};
  std::optional<engine::Epoch> apply_asked_{};          ///< newest epoch given to the apply thread
  std::optional<engine::Epoch> last_received_{};        ///< newest epoch whose end came
  std::optional<link::VerifyResult> awaiting_disks_{};  ///< memory is compared, disks are not yet
  std::size_t held_bytes_{0};
  std::size_t owed_bytes_{0};  ///< received, not credited

  // apply thread
  BackupDisks disks_;
  std::unique_ptr<hypervisor::Standby> standby_;
  std::optional<checkpoint::Layout> layout_{};
  std::optional<checkpoint::Image> image_{};
  std::unique_ptr<checkpoint::BatchDecoder> apply_decoder_{};
  std::vector<std::byte> device_state_{};
  bool sync_failed_{false};
  std::optional<engine::Epoch> applied_{};  ///< what image and replicas hold
  std::deque<DiskHashes> disk_hashes_{};
  link::VerifyResult disk_result_{};

  // check thread
  std::unique_ptr<checkpoint::BatchDecoder> check_decoder_{};
  checkpoint::DeviceDecoder device_decoder_{};

  std::unique_ptr<Worker> apply_;
  std::unique_ptr<Worker> check_;  // joined first: it posts to apply_
};

}  // namespace remus::guard
