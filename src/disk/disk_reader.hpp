// Reads a disk that is in use into a CopySink: the initial copy, a resynchronization of what changed, or a verification.
//
//   what is there ──▶ data │ hole │ data
//                      │      └ ticket, asked again: still a hole ─▶ finish_zero
//                      └ ticket, read ───────────────────────────▶ finish
//
// A ticket is always taken before the disk is asked, so a write that falls between is known to the sink. What was known before
// the ticket was taken is only a hint.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>

#include "base/error.hpp"
#include "disk/write_sink.hpp"

namespace remus::disk {

struct CopyRange {
  std::uint64_t offset{};
  std::uint64_t bytes{};
};

struct CopyProgress {
  std::uint64_t done_bytes{};  ///< of the ranges, holes and all
  std::uint64_t total_bytes{};
  std::uint64_t read_bytes{};  ///< of data
};

/// How a copy goes on, and whether.
struct CopyControl {
  const std::atomic<std::uint64_t>& bytes_per_s;  ///< at most; may change meanwhile; 0: as fast as it goes
  std::stop_token stop{};
  std::function<void(const CopyProgress&)> progress{};  ///< after each chunk; be quick: reads are under way
  std::function<bool()> may_read{};                     ///< asked before each read; may be empty
  /// Reads and holes begin and end at multiples of it (a power of two, at most a read's length), or where a range or the
  /// disk does; what is smaller of a hole is read.
  std::uint64_t align_bytes{1};
};

class DiskReader {
 public:
  DiskReader() = default;
  DiskReader(const DiskReader&) = delete;
  DiskReader& operator=(const DiskReader&) = delete;
  virtual ~DiskReader() = default;

  [[nodiscard]] virtual std::uint64_t bytes() const noexcept = 0;

  /// Copies the ranges (within the disk, any alignment) in order. While it must not read, no read is under way.
  /// Errors: closed (asked to stop), invalid (a range beyond the disk), io, timeout, those of the sink.
  /// After an error no read is under way, every ticket has ended, and the reader is of no further use.
  virtual Status copy(std::span<const CopyRange> ranges, CopySink& sink, const CopyControl& control) = 0;
};

}  // namespace remus::disk
