// A write batch: some of an epoch's writes to one disk, in one frame's payload and one record of the backup's journal.
// docs/disk-batch-format.md gives every byte.
//
// Packed like a batch of pages, and of the same bounds, so that whatever carries and keeps the one can carry and keep
// the other.
#pragma once

#include <vector>

#include "checkpoint/packer.hpp"
#include "disk/portion.hpp"

namespace remus::disk {

inline constexpr std::size_t write_batch_header_bytes = checkpoint::batch_header_bytes;
inline constexpr std::size_t write_batch_body_bytes_max = checkpoint::batch_body_bytes_max;
inline constexpr std::size_t write_batch_payload_bytes_max = checkpoint::batch_payload_bytes_max;
inline constexpr std::size_t write_records_max = 4096;
inline constexpr std::uint8_t write_batch_version = 1;
inline constexpr std::size_t disks_max = 64;  ///< of a guest

using DiskIndex = std::uint16_t;

/// Portions in, batches out, in the order of their offsets.
class WriteBatchEncoder final {
 public:
  WriteBatchEncoder(checkpoint::Compression compression, std::uint64_t link_bytes_per_s);

  /// All of a portion. Errors: io (spilled data cannot be read back); what was put out until then is not a whole.
  [[nodiscard]] Status encode(DiskIndex disk, const Portion& portion, checkpoint::BatchOutput& out);
  void link_rate(std::uint64_t bytes_per_s) noexcept { packer_.link_rate(bytes_per_s); }

 private:
  void add(DiskIndex disk, const Write& write, checkpoint::BatchOutput& out);
  void put(const Write& write);
  void flush(DiskIndex disk, checkpoint::BatchOutput& out);

  checkpoint::Packer packer_;
  std::vector<std::byte> body_;
  std::size_t used_{};
  std::uint32_t records_{};
  std::uint64_t behind_{};  ///< where the last record ended
};

struct WriteBatchSummary {
  DiskIndex disk{};
  std::uint32_t records{};
  std::uint64_t data_bytes{};
  std::uint64_t zero_bytes{};  ///< zeroed or trimmed
};

/// Takes any bytes from anyone: they are a sound batch for these disks, or Errc::corrupt.
class WriteBatchDecoder final {
 public:
  explicit WriteBatchDecoder(std::vector<std::uint64_t> disk_bytes);

  /// Goes through every byte. What it accepts visit() cannot fail on. Errors: corrupt.
  [[nodiscard]] Result<WriteBatchSummary> validate(std::span<const std::byte> payload);
  /// visitor(disk, const Write&) → Status, by rising offset; stops at its first error. Errors: corrupt, the visitor's.
  template <typename Visitor>
  [[nodiscard]] Status visit(std::span<const std::byte> payload, Visitor&& visitor) {
    auto head = unpack(payload);
    if (!head) return std::unexpected(std::move(head.error()));
    Cursor cursor{};
    for (std::uint32_t i = 0; i < head->records; ++i) {
      auto write = next(cursor, head->disk);
      if (!write) return std::unexpected(std::move(write.error()));
      if (auto status = visitor(head->disk, *write); !status) return status;
    }
    return end(cursor);
  }

  [[nodiscard]] const std::vector<std::uint64_t>& disk_bytes() const noexcept { return disk_bytes_; }

 private:
  struct Head {
    DiskIndex disk{};
    std::uint32_t records{};
  };
  struct Cursor {
    std::size_t at{};
    std::uint64_t behind{};
  };
  [[nodiscard]] Result<Head> unpack(std::span<const std::byte> payload);
  [[nodiscard]] Result<Write> next(Cursor& cursor, DiskIndex disk) const;
  [[nodiscard]] Status end(const Cursor& cursor) const;

  std::vector<std::uint64_t> disk_bytes_;
  checkpoint::Unpacker unpacker_{};
  std::span<const std::byte> body_{};
};

}  // namespace remus::disk
