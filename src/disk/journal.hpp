// The backup's journal: where an epoch's disk writes are held aside until the epoch is whole, and from where they reach
// the replicas even if the host dies in the midst of it.
//
//   receiver   append ── append ── append ── commit(k)           each record goes to the file at once: the page cache is
//                                                                the memory, the kernel spills
//   applier                                  synchronize() ── read(k) → replicas ── release(k), once they survive
//
// An epoch that is not committed is torn: drop_torn() forgets it, and recovery never sees it. A journal is a row of
// segment files; those whose epochs are all released are removed.
//
// Two threads: append, commit and drop_torn on one, synchronize, read and release on another.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "disk/journal_format.hpp"
#include "disk/storage.hpp"

namespace remus::disk {

using Epoch = std::uint64_t;

struct JournalSettings {
  std::uint64_t segment_bytes = 64ULL << 20;     ///< beyond it the next epoch begins a new one
  std::uint64_t journal_bytes_max = 4ULL << 30;  ///< of all segments; an append beyond it fails
};

class Journal final {
 public:
  /// Removes whatever journal is there and begins an empty one, durably, for epochs 0, 1, 2, ... `folder` must outlive it.
  /// Errors: exhausted, io.
  [[nodiscard]] static Result<std::unique_ptr<Journal>> create(StorageFolder& folder, std::uint64_t identity,
                                                               const JournalSettings& settings);
  /// Removes a journal nobody needs any more.
  [[nodiscard]] static Status remove(StorageFolder& folder);

  /// A batch of the epoch after the last one committed. Errors: exhausted (the journal's bound, or the file system is
  /// full), io. The epoch cannot be committed then; drop_torn() and it may be tried again.
  [[nodiscard]] Status append(std::span<const std::byte> payload);
  /// All of the epoch under way was appended. Errors: as of append; not committed then.
  [[nodiscard]] Status commit();
  /// Forgets what was appended since the last commit.
  void drop_torn() noexcept;
  /// The one being appended.
  [[nodiscard]] Epoch next_epoch() const;
  [[nodiscard]] std::uint32_t batches() const noexcept { return batches_; }

  /// Everything committed before the call survives a power cut. Returns the number of epochs that do: the first that does
  /// not. Errors: io; from then on for ever, since what the kernel dropped may look written.
  [[nodiscard]] Result<Epoch> synchronize();
  /// The batches of a committed epoch that is not released, in order, each checked. Errors: io, corrupt, the visitor's.
  [[nodiscard]] Status read(Epoch epoch, const std::function<Status(std::span<const std::byte>)>& visitor);
  /// The guest wrote nothing to any disk in it.
  [[nodiscard]] bool writes_nothing(Epoch epoch) const;
  /// Epochs before `end` are not needed any more.
  [[nodiscard]] Status release(Epoch end);
  [[nodiscard]] std::uint64_t bytes() const;  ///< of all segments

 private:
  struct SegmentFile {
    std::uint64_t index{};
    Epoch first_epoch{};
    std::unique_ptr<StorageFile> file{};
    std::uint64_t used{};     ///< up to the last commit, rounded up
    std::uint64_t durable{};  ///< of that, up to here
  };
  struct Kept {
    std::shared_ptr<SegmentFile> segment{};
    std::uint64_t begin{};
    std::uint32_t batches{};
  };

  Journal(StorageFolder& folder, std::uint64_t identity, const JournalSettings& settings)
      : folder_{folder}, identity_{identity}, settings_{settings} {}

  [[nodiscard]] Status begin_segment();
  [[nodiscard]] Status begin_epoch();
  [[nodiscard]] Status put(journal_format::RecordKind kind, std::uint32_t number,
                           std::span<const std::byte> payload);
  [[nodiscard]] Status read_record(SegmentFile& segment, std::uint64_t at, journal_format::Record& record);

  StorageFolder& folder_;
  std::uint64_t identity_;
  JournalSettings settings_;

  // the receiver's
  std::uint64_t at_{};  ///< where the next record goes in the current segment
  std::uint32_t batches_{};
  std::uint64_t chain_{};
  std::vector<std::byte> out_{};
  // the applier's
  std::vector<std::byte> in_{};
  Status failed_{};

  mutable std::mutex mutex_{};  ///< guards what follows
  std::deque<std::shared_ptr<SegmentFile>> segments_{};
  std::map<Epoch, Kept> kept_{};  ///< committed, not released
  Epoch next_epoch_{};
  Epoch survives_{};  ///< epochs before this one
};

}  // namespace remus::disk
