// Where a guest's write path tells what it changes, and where whoever copies a disk in the background tells what it
// read.
//
// Whatever stands in the write path (an NBD server that QEMU mirrors its writes to, a device a Xen backend writes
// to) knows nothing of epochs: it hands on each write, and answers the guest when the call returns. The copier of a
// disk that is in use has one difficulty: a block may be written while it is read, and what was read would then be
// older than what the log holds. So it announces each read, and what was written in between is left out:
//
//   copier     begin(0, 64K) ── read ───────────────── finish(ticket, data): all but [4K, 8K) is taken
//   guest                         └ write(4K, 4K)
//
// Offsets and lengths are bytes, any alignment; they stay within the disk (Errc::invalid).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.hpp"

namespace remus::disk {

/// Where a guest's write path tells what it changes. One per disk; calls may come from several threads.
class WriteSink {
 public:
  WriteSink() = default;
  WriteSink(const WriteSink&) = delete;
  WriteSink& operator=(const WriteSink&) = delete;
  virtual ~WriteSink() = default;

  /// Returns when the data has been taken (copied); waits under back-pressure.
  [[nodiscard]] virtual Status write(std::uint64_t offset, std::span<const std::byte> data) = 0;
  /// The range reads as zeros from now on. `may_unmap`: it need not stay allocated.
  [[nodiscard]] virtual Status zero(std::uint64_t offset, std::uint64_t bytes, bool may_unmap) = 0;
  /// The guest no longer needs the range (discard); on every replica it reads as zeros from now on.
  [[nodiscard]] virtual Status trim(std::uint64_t offset, std::uint64_t bytes) = 0;
  /// Everything written so far survives what the guest expects it to survive: it is in this log.
  [[nodiscard]] virtual Status flush() = 0;
};

/// Takes what was there before. Each ticket ends by exactly one of finish, finish_zero, abandon.
class CopySink {
 public:
  using Ticket = std::uint64_t;

  CopySink() = default;
  CopySink(const CopySink&) = delete;
  CopySink& operator=(const CopySink&) = delete;
  virtual ~CopySink() = default;

  /// Call before the read of the range is issued.
  [[nodiscard]] virtual Ticket begin(std::uint64_t offset, std::uint64_t bytes) = 0;
  /// What was read: as many bytes as were announced.
  [[nodiscard]] virtual Status finish(Ticket ticket, std::span<const std::byte> data) = 0;
  /// The range is a hole: it reads as zeros.
  [[nodiscard]] virtual Status finish_zero(Ticket ticket) = 0;
  /// The read failed or is not wanted any more.
  virtual void abandon(Ticket ticket) = 0;
};

}  // namespace remus::disk
