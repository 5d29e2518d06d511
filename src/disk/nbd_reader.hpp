// Reads a disk that is in use, out of an NBD export, into a CopySink: the initial copy, a resynchronization of what
// changed, or a verification.
//
//   export ──block status──▶ data │ hole │ data
//                             │      └ ticket, asked again: still a hole ─▶ finish_zero
//                             └ ticket, read (several under way) ─────────▶ finish
//
// A ticket is always taken before the export is asked, so a write that falls between is known to the sink. What block
// status said before the ticket was taken is only a hint. libnbd speaks the protocol.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

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
  std::uint64_t read_bytes{};  ///< over the connection
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

class NbdReader final {
 public:
  static constexpr std::size_t chunk_bytes = 256U << 10U;      ///< of one read
  static constexpr std::size_t reads_max = 8;                  ///< under way at once
  static constexpr std::uint64_t hole_bytes_max = 16U << 20U;  ///< of one ticket for a hole
  static constexpr std::chrono::seconds silence_max{30};       ///< of an export that owes an answer

  /// Errors: unreachable (nobody serves there, or no such export), with libnbd's words.
  static Result<std::unique_ptr<NbdReader>> connect(const std::filesystem::path& socket,
                                                    const std::string& name);
  ~NbdReader();
  NbdReader(const NbdReader&) = delete;
  NbdReader& operator=(const NbdReader&) = delete;

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  /// False: the export knows nothing of holes, and all of it is read.
  [[nodiscard]] bool knows_holes() const noexcept { return knows_holes_; }

  /// Copies the ranges (within the disk, any alignment) in order. While it must not read, no read is under way.
  /// Errors: closed (asked to stop), invalid (a range beyond the disk), io, timeout (silence_max), those of the sink.
  /// After an error no read is under way, every ticket has ended, and the reader is of no further use.
  Status copy(std::span<const CopyRange> ranges, CopySink& sink, const CopyControl& control);

 private:
  struct Library;
  class Run;
  struct Extent {
    std::uint64_t offset{};
    std::uint64_t bytes{};
    bool hole{};
  };

  NbdReader(std::unique_ptr<Library> library, std::uint64_t bytes, bool knows_holes);
  /// What lies at `offset`, up to `bytes` further on: at least one extent. Holes that read as zeros only.
  Result<std::vector<Extent>> status(std::uint64_t offset, std::uint64_t bytes);

  std::unique_ptr<Library> library_;
  std::uint64_t bytes_;
  bool knows_holes_;
};

}  // namespace remus::disk
