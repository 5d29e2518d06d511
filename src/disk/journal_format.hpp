// The journal's bytes. Internal to the journal and its recovery.
//
//   segment file   ┌ header, 4096 ┬ batch ┬ batch ┬ commit ┬ to 4096 ┬ batch ┬ commit ┬ ...
//                  └──────────────┴ epoch 7 ───────────────┴─────────┴ epoch 8 ───────┴ ...
//
// Epochs begin at multiples of 4096: a block that was synchronized is never written again, so a cut in the midst of
// writing cannot damage an epoch before. A commit holds a hash over the checksums of all its epoch's records: they are
// those that were written for it, not ones that an earlier attempt at the same epoch has left behind.
#pragma once

#include <string>

#include "disk/storage.hpp"
#include "disk/write_batch.hpp"

namespace remus::disk::journal_format {

inline constexpr std::uint64_t block_bytes = 4096;
inline constexpr std::size_t record_header_bytes = 48;
inline constexpr std::uint64_t segment_header_bytes = block_bytes;

enum class RecordKind : std::uint8_t { batch = 1, commit = 2 };

struct Record {
  RecordKind kind{};
  std::uint32_t payload_bytes{};
  std::uint32_t number{};    ///< batch: 0, 1, 2, ... within the epoch; commit: how many batches
  std::uint64_t identity{};  ///< of the journal: the session's
  std::uint64_t epoch{};
  std::uint64_t survives{};  ///< epochs below this one were synchronized when the record was written
  std::uint64_t checksum{};  ///< of header and payload
};

struct Segment {
  std::uint64_t identity{};
  std::uint64_t index{};  ///< 0, 1, 2, ...
  std::uint64_t first_epoch{};
};

[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t bytes, std::uint64_t to) noexcept {
  return (bytes + to - 1) / to * to;
}
/// What a record takes with its payload and padding.
[[nodiscard]] constexpr std::uint64_t record_bytes(std::uint64_t payload_bytes) noexcept {
  return record_header_bytes + round_up(payload_bytes, 8);
}

/// Writes header and payload into `to` (of record_bytes()) and sets the checksum.
void put_record(Record& record, std::span<const std::byte> payload, std::span<std::byte> to) noexcept;
/// The header alone: false if it is none, or not of this journal.
[[nodiscard]] bool get_header(std::span<const std::byte> from, std::uint64_t identity,
                              Record& record) noexcept;
/// Do header and payload stand as they were written?
[[nodiscard]] bool sound(std::span<const std::byte> header, std::span<const std::byte> payload,
                         const Record& record) noexcept;
/// The next link of a commit's hash over its records.
[[nodiscard]] std::uint64_t chain(std::uint64_t before, std::uint64_t checksum) noexcept;

[[nodiscard]] std::vector<std::byte> segment_header(const Segment& segment);
[[nodiscard]] bool get_segment(std::span<const std::byte> from, Segment& segment) noexcept;
[[nodiscard]] std::string segment_name(std::uint64_t index);
/// The numbers of the segments that are there, ascending. Errors: io.
[[nodiscard]] Result<std::vector<std::uint64_t>> segments_in(StorageFolder& folder);

}  // namespace remus::disk::journal_format
