// What of a disk may differ from its replica, known even after this host has lost its power: a coarse map whose bits are
// on disk before the first write to their region is answered, and cleared lazily once the replica holds the writes for
// good.
//
//   write to a clean region   bit set, synchronized, then answered: costs one fsync for a region of some MiB
//   write to a dirty region   nothing to do: the usual case
//   survives(portion)         now and then regions nobody writes to any more become clean; not synchronized, since a bit
//                             that comes back costs only copying
//
// Each sector of the file has a checksum; one that was torn counts as dirty throughout. A map that is not of this disk, or
// of another session's replica, is no map: everything is dirty.
//
// changed() may be called from several threads; it is told of a write before the guest is. A write that reached the disk and
// was never answered, because the power failed in between, may be missing: where the write path changes the disk before it
// tells (QEMU's mirror does), a disk whose host lost its power is to be compared with its replica, not only its dirty
// regions copied.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "disk/storage.hpp"
#include "disk/window_bitmap.hpp"
#include "disk/write_log.hpp"

namespace remus::disk {

struct DirtyRange {
  std::uint64_t offset{};
  std::uint64_t bytes{};
  bool operator==(const DirtyRange&) const = default;
};

class ResyncMap final : public ChangeObserver {
 public:
  static constexpr std::uint64_t region_bytes_default = 4ULL << 20;

  enum class Begin : std::uint8_t {
    dirty,  ///< nothing is known of a replica
    clean,  ///< what differs from it will be told by changed()
  };
  /// A new map. `file` is empty or overwritten. Errors: exhausted, io.
  [[nodiscard]] static Result<std::unique_ptr<ResyncMap>> create(
      std::unique_ptr<StorageFile> file, std::uint64_t disk_bytes, std::uint64_t replica,
      std::uint64_t region_bytes = region_bytes_default, Begin begin = Begin::dirty);
  /// The map as it survived. `replica` names what it was kept against. Errors: corrupt (of another disk or replica, or no map:
  /// everything must be copied), io.
  [[nodiscard]] static Result<std::unique_ptr<ResyncMap>> load(std::unique_ptr<StorageFile> file,
                                                               std::uint64_t disk_bytes,
                                                               std::uint64_t replica);

  /// Errors: exhausted, io; for ever, if making durable failed. The write must then count as unknown.
  [[nodiscard]] Status changed(std::uint64_t offset, std::uint64_t bytes) override;
  void marked(PortionNumber number) override;
  /// Portions up to this one survive the backup's death. Only once the replica is whole: before, nothing becomes clean.
  [[nodiscard]] Status survives(PortionNumber upto);

  /// From now on it is about this replica. `kept`: one of the same content as the replica it was about until now; else
  /// all is dirty. Errors: exhausted, io.
  [[nodiscard]] Status stands_for(std::uint64_t replica, bool kept);
  [[nodiscard]] std::uint64_t replica() const;

  /// By rising offset, neighbours joined.
  [[nodiscard]] std::vector<DirtyRange> dirty() const;

 private:
  ResyncMap(std::unique_ptr<StorageFile> file, std::uint64_t disk_bytes, std::uint64_t replica,
            std::uint64_t region_bytes);
  [[nodiscard]] Status write_head();
  [[nodiscard]] Status write_sector(std::uint64_t sector);

  std::unique_ptr<StorageFile> file_;
  std::uint64_t disk_bytes_;
  std::uint64_t replica_;

  mutable std::mutex mutex_{};
  WindowBitmap bits_;
  PortionNumber marked_{};  ///< newest
  PortionNumber
      turned_{};  ///< newest when the windows turned last: the older window's writes are in these portions
  Status failed_{};
};

}  // namespace remus::disk
