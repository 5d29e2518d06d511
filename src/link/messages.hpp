// What the two guards say to each other.
//
//   primary                                      backup
//   Hello                          ───────────▶
//                                  ◀───────────  Welcome | Refuse
//   SessionBegin                   ───────────▶
//                                  ◀───────────  SessionReady, HashOffer*   (what its image holds already)
//   SyncPages* DiskSync*           ───────────▶
//   DiskHashesWanted*              ───────────▶
//                                  ◀───────────  DiskHashes*              (what its replicas hold already)
//   EpochBegin EpochPages* EpochDevice* DiskWrites* EpochEnd ▶               epoch 0, 1, 2, ...
//                                  ◀───────────  Ack
//   Heartbeat                      ◀──────────▶  Heartbeat
//
// Plain values with encode and decode; every field, limit and order is in docs/protocol.md. Integers are
// little-endian and of fixed width, strings and lists are bounded. Opaque data (page batches, hashes, device
// state) is a shared Payload and is never copied here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.hpp"
#include "checkpoint/layout.hpp"
#include "engine/types.hpp"
#include "link/frame.hpp"

namespace remus::link {

inline constexpr std::uint16_t protocol_version_min = 1;  ///< oldest this build speaks
inline constexpr std::uint16_t protocol_version_max = 1;  ///< newest this build speaks

inline constexpr std::size_t name_bytes_max = 255;   ///< guest, host, block, version strings
inline constexpr std::size_t text_bytes_max = 4096;  ///< sentences
inline constexpr std::size_t description_bytes_max = std::size_t{256} * 1024;  ///< GuestDescription as JSON
inline constexpr std::size_t layout_blocks_max = checkpoint::layout_blocks_max;
inline constexpr std::size_t batch_bytes_max = std::size_t{512} * 1024;  ///< opaque data of one frame
inline constexpr std::size_t differing_pages_max = 4096;                 ///< listed in a VerifyResult
inline constexpr std::size_t differing_disk_blocks_max = 4096;           ///< likewise
inline constexpr std::size_t disks_max = 64;                             ///< of a guest
inline constexpr std::uint64_t disk_bytes_max = std::uint64_t{1} << 56;  ///< of each
inline constexpr std::uint32_t disk_block_bytes_min = 512;  ///< a hash of VerifyDiskHashes stands for
inline constexpr std::uint32_t disk_block_bytes_max = 16U << 20;
inline constexpr std::uint32_t disk_hashes_max = batch_bytes_max / 16;  ///< of one message
inline constexpr std::size_t receive_window_bytes_min = 2 * (frame_payload_bytes_max + frame_header_bytes);
inline constexpr std::size_t receive_window_bytes_max = std::size_t{1} << 30;

/// Numbers on the wire; never reused. 0x0100–0x01ff are replicated disks', 0x0200–0x02ff are kept for Xen,
/// 0x7f00–0x7fff for experiments.
enum class MessageType : std::uint16_t {
  hello = 1,
  welcome = 2,
  refuse = 3,
  goodbye = 4,
  active = 5,
  heartbeat = 16,
  ack = 17,
  window_update = 18,
  session_begin = 32,
  session_ready = 33,
  hash_offer = 34,
  sync_pages = 35,
  epoch_begin = 48,
  epoch_pages = 49,
  epoch_device = 50,
  epoch_end = 51,
  verify_begin = 64,
  verify_hashes = 65,
  verify_result = 66,
  disk_sync = 0x0100,
  disk_writes = 0x0101,
  verify_disk_hashes = 0x0102,
  disk_hashes_wanted = 0x0103,
  disk_hashes = 0x0104,
};
[[nodiscard]] std::string_view to_string(MessageType type) noexcept;

/// primary → backup, first frame of a connection.
struct Hello {
  std::uint16_t version_min{protocol_version_min};
  std::uint16_t version_max{protocol_version_max};
  std::string product_version{REMUS_VERSION};
  std::string host{};  ///< the primary's host name; must be a name in its certificate
  std::string guest{};
  engine::Generation generation{};
  engine::Session session{};  ///< session the primary could continue; 0 if none
  std::uint32_t receive_window_bytes{8U << 20};
  std::string description_json{};  ///< hypervisor::GuestDescription; the standby is built from it
  bool operator==(const Hello&) const = default;
};

/// backup → primary, answer to Hello.
struct Welcome {
  std::uint16_t version{protocol_version_max};  ///< chosen: highest both speak
  std::string product_version{REMUS_VERSION};
  std::string host{};
  std::string hypervisor_version{};
  engine::BackupHello backup{};
  std::uint32_t receive_window_bytes{64U << 20};
  bool offers_hashes{};  ///< its image, of whatever session, may be offered by page hashes
  bool operator==(const Welcome& other) const noexcept;
};

/// Either side: this connection is not served. The sender closes after it. The sentence is for a person.
struct Refuse {
  Errc kind{Errc::refused};
  std::string what{};
  std::string fix{};
  [[nodiscard]] Error error() const { return Error{kind, what, fix}; }
  bool operator==(const Refuse&) const = default;
};

enum class GoodbyeReason : std::uint16_t {
  unprotected = 1,    ///< protection was taken off: discard image and standby
  guest_gone = 2,     ///< the guest was shut down or its process ended: nothing to take over
  switchover = 3,     ///< primary → backup: guest stopped after `epoch`, run it from there as `generation`
  alone = 4,          ///< the primary goes on without this backup as `generation`
  fenced = 5,         ///< the sender learned of a later generation and stopped
  shutting_down = 6,  ///< the sender's guard ends in good order; the guest runs on, come again
  guest_crashed = 7,  ///< the guest's process died under us: take over from the newest epoch you hold
};
[[nodiscard]] std::string_view to_string(GoodbyeReason reason) noexcept;

struct Goodbye {
  GoodbyeReason reason{GoodbyeReason::unprotected};
  engine::Session session{};
  engine::Generation generation{};
  engine::Epoch epoch{};
  std::string text{};
  bool operator==(const Goodbye&) const = default;
};

/// backup → primary: I run this guest, since `generation`, from `epoch`.
struct Active {
  engine::Session session{};
  engine::Generation generation{};
  engine::Epoch epoch{};
  bool operator==(const Active&) const = default;
};

struct HeartbeatMsg {
  engine::Heartbeat heartbeat{};
  bool operator==(const HeartbeatMsg& other) const noexcept;
};

/// backup → primary: I hold all of this epoch and every one before it.
struct Ack {
  engine::Session session{};
  engine::Epoch epoch{};
  std::uint64_t consumed_bytes{};  ///< as in WindowUpdate; Connection fills and applies it
  /// Epochs before it survive the death of the backup's host on its disks; an acknowledgement alone promises less.
  /// Not tied to `epoch`. 0: none, or a guest without replicated disks.
  engine::Epoch survives{};
  bool operator==(const Ack&) const = default;
};

/// Sent and applied by Connection itself: bulk bytes of this connection the receiver is done with, in total.
struct WindowUpdate {
  std::uint64_t consumed_bytes{};
  bool operator==(const WindowUpdate&) const = default;
};

/// primary → backup: forget what was torn, build (or keep) a standby of this shape, a synchronization
/// follows.
struct SessionBegin {
  engine::Session session{};
  engine::Generation generation{};
  checkpoint::Layout layout{};
  bool wants_hashes{};  ///< offer the hashes of your image, if it has this layout
  /// The session of the replicas against which the primary knows what it has written since; 0: it knows of none.
  std::uint64_t resync_base{};
  /// So many epochs of that session the replicas must hold for that; 0: none, not even whole need they be.
  std::uint64_t resync_epochs{};
  bool operator==(const SessionBegin&) const = default;
};

/// backup → primary: standby prepared. Only now may SyncPages come. (A failure is a Refuse.)
struct SessionReady {
  engine::Session session{};
  bool hashes_follow{};  ///< HashOffer frames come next, up to one marked last
  /// SessionBegin's resync_base: the replicas are of that session, what changed since is enough.
  /// 0: nobody knows what they stand for, all of the disks is compared.
  std::uint64_t disks_base{};
  bool operator==(const SessionReady&) const = default;
};

/// backup → primary: hashes (16 bytes a page) of pages [first_page, first_page + page_count) of its image.
struct HashOffer {
  engine::Session session{};
  checkpoint::PageIndex first_page{};
  std::uint32_t page_count{};
  bool last{};
  Payload hashes{};
  bool operator==(const HashOffer&) const = default;
};

/// primary → backup: a page batch (docs/page-batch-format.md) of the synchronization; applied as it comes.
struct SyncPages {
  engine::Session session{};
  std::uint32_t batch{};  ///< 0, 1, 2, ... within the synchronization
  Payload data{};
  bool operator==(const SyncPages&) const = default;
};

/// primary → backup: a write batch (docs/disk-batch-format.md) of the synchronization; applied as it comes.
struct DiskSync {
  engine::Session session{};
  std::uint32_t batch{};  ///< 0, 1, 2, ... within the synchronization, apart from SyncPages
  Payload data{};
  bool operator==(const DiskSync&) const = default;
};

/// primary → backup: tell what these blocks of your replica hold, so that only those that differ are sent.
struct DiskHashesWanted {
  engine::Session session{};
  std::uint16_t disk{};
  std::uint64_t offset{};       ///< bytes; a multiple of block_bytes
  std::uint32_t block_bytes{};  ///< a power of two; the disk's last block is what is left of it
  std::uint32_t blocks{};       ///< 1 to disk_hashes_max
  bool operator==(const DiskHashesWanted&) const = default;
};

enum class DiskContent : std::uint8_t {
  hashed = 0,   ///< as the hashes say
  zero = 1,     ///< all of it reads as zeros
  unknown = 2,  ///< it could not be read: to be sent, whatever it is
};

/// backup → primary: the answer. What has been synchronized meanwhile may be in it or not.
struct DiskHashes {
  DiskHashesWanted of{};
  DiskContent content{DiskContent::unknown};
  Payload hashes{};  ///< hashed: 16 bytes a block, the session their seed; else none
  bool operator==(const DiskHashes&) const = default;
};

struct EpochBegin {
  engine::Session session{};
  engine::Epoch epoch{};
  std::uint64_t pages{};  ///< captured; 0 if not known yet. For display and for sizing, never trusted
  std::uint64_t device_bytes{};
  bool operator==(const EpochBegin&) const = default;
};

struct EpochPages {
  engine::Epoch epoch{};
  std::uint32_t batch{};  ///< 0, 1, 2, ... within the epoch
  Payload data{};
  bool operator==(const EpochPages&) const = default;
};

struct EpochDevice {
  engine::Epoch epoch{};
  std::uint64_t offset_bytes{};  ///< of this chunk within the epoch's device state
  Payload data{};
  bool operator==(const EpochDevice&) const = default;
};

/// A write batch (docs/disk-batch-format.md); held aside until the epoch is whole.
struct DiskWrites {
  engine::Epoch epoch{};
  std::uint32_t batch{};  ///< 0, 1, 2, ... within the epoch, apart from EpochPages
  Payload data{};
  bool operator==(const DiskWrites&) const = default;
};

/// What the epoch must add up to; a backup that counts otherwise does not hold it and must say so.
struct EpochEnd {
  engine::Session session{};
  engine::Epoch epoch{};
  std::uint32_t batches{};
  std::uint64_t pages{};
  std::uint64_t batch_bytes{};   ///< sum of EpochPages::data
  std::uint64_t device_bytes{};  ///< sum of EpochDevice::data
  std::array<std::byte, 16>
      image_hash{};  ///< rolling hash of the primary's memory after this epoch; zero: not kept
  std::uint32_t disk_batches{};
  std::uint64_t disk_bytes{};  ///< sum of DiskWrites::data
  bool operator==(const EpochEnd&) const = default;
};

/// primary → backup: compare your image as of `epoch` with the hashes that follow.
struct VerifyBegin {
  std::uint64_t id{};
  engine::Session session{};
  engine::Epoch epoch{};
  bool disks{};  ///< and your replicas: VerifyDiskHashes come too, after the VerifyHashes
  bool operator==(const VerifyBegin&) const = default;
};

struct VerifyHashes {
  std::uint64_t id{};
  checkpoint::PageIndex first_page{};
  std::uint32_t page_count{};
  bool last{};
  Payload hashes{};
  bool operator==(const VerifyHashes&) const = default;
};

/// primary → backup: hashes (as of pages, 16 bytes a block) of [offset, offset + blocks · block_bytes) of a disk.
struct VerifyDiskHashes {
  std::uint64_t id{};
  std::uint16_t disk{};
  std::uint64_t offset{};       ///< bytes; a multiple of block_bytes
  std::uint32_t block_bytes{};  ///< a power of two; the disk's last block is what is left of it
  std::uint32_t blocks{};
  bool last{};  ///< of the verification, all disks
  Payload hashes{};
  bool operator==(const VerifyDiskHashes&) const = default;
};

/// Where a block of a disk begins.
struct DiskBlock {
  std::uint16_t disk{};
  std::uint64_t offset{};  ///< bytes
  bool operator==(const DiskBlock&) const = default;
};

struct VerifyResult {
  std::uint64_t id{};
  engine::Epoch epoch{};
  std::uint64_t compared_pages{};
  std::uint64_t differing_pages{};                 ///< all of them
  std::vector<checkpoint::PageIndex> differing{};  ///< the first differing_pages_max of them, ascending
  std::string failure{};                           ///< why it couldn't be done; empty when it was
  std::uint64_t compared_blocks{};
  std::uint64_t differing_blocks{};                ///< all of them
  std::vector<DiskBlock> differing_disk_blocks{};  ///< the first differing_disk_blocks_max of them
  bool operator==(const VerifyResult&) const = default;
};

using Message = std::variant<Hello, Welcome, Refuse, Goodbye, Active, HeartbeatMsg, Ack, WindowUpdate,
                             SessionBegin, SessionReady, HashOffer, SyncPages, EpochBegin, EpochPages,
                             EpochDevice, EpochEnd, VerifyBegin, VerifyHashes, VerifyResult, DiskSync,
                             DiskWrites, VerifyDiskHashes, DiskHashesWanted, DiskHashes>;

/// Which queue a message waits in. Within a lane order is kept; control overtakes bulk between frames.
enum class Lane : std::uint8_t {
  control,  ///< heartbeat, ack, window, active, goodbye (but for switchover): small, never held back
  bulk,     ///< all that must keep its place among the pages; counted against window and bandwidth
};

[[nodiscard]] Lane lane_of(const Message& message) noexcept;

/// A message ready to be framed: `head` then `tail` are the payload.
struct Outgoing {
  MessageType type{};
  Lane lane{Lane::control};
  bool optional{};
  std::vector<std::byte> head{};
  Payload tail{};
  [[nodiscard]] std::size_t wire_bytes() const noexcept {
    return frame_header_bytes + head.size() + tail.size();
  }
};

/// Strings over their limit are a programming error (asserted), but for the sentences of Refuse, Goodbye and
/// VerifyResult, which are cut.
[[nodiscard]] Outgoing encode(const Message& message);

/// nullopt: a type we do not know, and its sender said that it may be skipped. Errors: corrupt (bad field,
/// wrong length), incompatible (unknown mandatory type).
[[nodiscard]] Result<std::optional<Message>> decode(const Frame& frame);

/// The highest version both speak, or incompatible with a sentence naming both ranges and product versions.
[[nodiscard]] Result<std::uint16_t> negotiate_version(const Hello& hello);

}  // namespace remus::link
