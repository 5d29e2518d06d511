// The primary's log of what a guest writes to one disk, cut exactly where its epochs end.
//
//   guest      w w w │ w w w w │ w ...        write() copies and returns; a rewrite within a portion costs no room
//   mark()           1         2              while the guest is paused and its requests are drained
//   sender           └─ portion 1 ── portion 2 ──▶ backup     read from any thread, as often as needed
//   release(1)                          ◀── acknowledged      room is free again
//
// Room is bounded (ChunkPool). A writer that finds none waits for acknowledged portions. If none comes within
// `wait_max`, the log gives up: it is *broken*, takes writes without keeping them, and the disk must be resynchronized.
// Protection never harms: a guest's write neither fails nor hangs because of its replica.
//
// What is copied of the disk while it is in use goes into the same log (CopySink). The disk must hold a write before
// write() is told of it, as QEMU's mirror does it: else a read could return what was there before a write that the log
// has already.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "disk/portion.hpp"
#include "disk/range_set.hpp"
#include "disk/write_sink.hpp"

namespace remus::disk {

/// Told of every range that is written: once the log has it, before the writer's call returns.
class ChangeObserver {
 public:
  ChangeObserver() = default;
  ChangeObserver(const ChangeObserver&) = delete;
  ChangeObserver& operator=(const ChangeObserver&) = delete;
  virtual ~ChangeObserver() = default;
  /// Several threads at once. Errors are what the log breaks on.
  [[nodiscard]] virtual Status changed(std::uint64_t offset, std::uint64_t bytes) = 0;
  /// Portion `number` is closed: what is put into the next one comes after this call.
  virtual void marked(PortionNumber number) = 0;
};

struct WriteLogSettings {
  std::uint64_t disk_bytes{};
  std::size_t extents_max = 1U << 20;                            ///< of the portion being written
  std::chrono::milliseconds wait_max = std::chrono::seconds{2};  ///< a writer's, for room
  PortionNumber first = 1;  ///< a later log of the same disk goes on where its predecessor's numbers ended
};

struct WriteLogStats {
  std::uint64_t writes{};           ///< calls of write, zero, trim
  std::uint64_t bytes{};            ///< of write
  std::uint64_t rewritten_bytes{};  ///< of those, put over data of the same portion
  std::uint64_t copied_bytes{};     ///< taken of what was read
  std::uint64_t overtaken_bytes{};  ///< read, but written meanwhile, or left out
  std::uint64_t waits{};            ///< for room
  std::uint64_t waiting_bytes{};    ///< of data not released, now
};

class WriteLog final : public WriteSink, public CopySink {
 public:
  static constexpr std::uint64_t disk_bytes_max = std::uint64_t{1} << 56;
  static constexpr std::uint64_t copy_bytes_max = 16ULL << 20;  ///< a ticket's range

  /// `observer` (may be null) must outlive the log.
  WriteLog(const WriteLogSettings& settings, std::shared_ptr<ChunkPool> pool,
           ChangeObserver* observer = nullptr);
  ~WriteLog() override;

  [[nodiscard]] Status write(std::uint64_t offset, std::span<const std::byte> data) override;
  [[nodiscard]] Status zero(std::uint64_t offset, std::uint64_t bytes, bool may_unmap) override;
  [[nodiscard]] Status trim(std::uint64_t offset, std::uint64_t bytes) override;
  [[nodiscard]] Status flush() override;

  [[nodiscard]] Ticket begin(std::uint64_t offset, std::uint64_t bytes) override;
  /// Waits while half of all room is used, so that copying never crowds the guest out. Errors: closed (the log broke or
  /// was closed: what was read is not kept), invalid.
  [[nodiscard]] Status finish(Ticket ticket, std::span<const std::byte> data) override;
  [[nodiscard]] Status finish_zero(Ticket ticket) override;
  void abandon(Ticket ticket) override;
  /// This part of the ticket's range is not to be taken of what was read.
  void leave_out(Ticket ticket, std::uint64_t offset, std::uint64_t bytes);

  /// Ends the portion: everything whose call has returned is in it or an earlier one, nothing that is yet to come.
  /// Portions are numbered 1, 2, 3, ... Takes no time to speak of: called while the guest is paused.
  PortionNumber mark();
  /// The number of the portion that is being written.
  [[nodiscard]] PortionNumber open_portion() const;
  /// A closed portion; null if it was released. Empty ones are portions, too.
  [[nodiscard]] std::shared_ptr<const Portion> portion(PortionNumber number) const;
  /// Portions up to this one are not needed any more.
  void release(PortionNumber upto);

  /// Why the log does not hold what was written; nothing while it does.
  [[nodiscard]] Status state() const;
  /// So much room is used that the portion should end soon.
  [[nodiscard]] bool wants_mark() const;
  [[nodiscard]] WriteLogStats stats() const;
  /// Nobody waits any more; from now on writes are taken and forgotten.
  void close();

 private:
  struct Copy {
    std::uint64_t offset{};
    std::uint64_t bytes{};
    RangeSet overtaken{};
  };

  [[nodiscard]] Status check(std::uint64_t offset, std::uint64_t bytes) const;
  [[nodiscard]] Status change(std::uint64_t offset, std::uint64_t bytes, WriteKind kind,
                              std::span<const std::byte> data);
  struct Room {
    bool granted{};
    std::size_t chunks{};  ///< reserved
    std::size_t before{};  ///< chunks the portion had
  };
  [[nodiscard]] Room make_room(std::unique_lock<std::mutex>& lock, std::size_t bytes);
  /// What was reserved and not used goes back; an error breaks the log.
  void settle(const Room& room, Status put);
  void overtake(std::uint64_t offset, std::uint64_t bytes);
  void give_up(Error why);
  /// Puts all of the copy that was not overtaken: put(begin, end).
  template <typename Put>
  [[nodiscard]] Status finish_copy(Ticket ticket, std::size_t data_bytes, Put&& put);
  [[nodiscard]] Status copying_ended() const;
  [[nodiscard]] std::unique_ptr<Portion> new_portion(PortionNumber number);

  WriteLogSettings settings_;
  std::shared_ptr<ChunkPool> pool_;
  std::shared_ptr<Portion::Memory> memory_;
  ChangeObserver* observer_;

  mutable std::mutex mutex_{};
  std::unique_ptr<Portion> open_;
  std::deque<std::shared_ptr<const Portion>> closed_{};
  std::unordered_map<Ticket, Copy> copies_{};
  Ticket last_ticket_{};
  WriteLogStats stats_{};
  Status state_{};
  std::atomic<bool> closing_{false};
};

}  // namespace remus::disk
