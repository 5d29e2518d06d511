// The seam to the write path of a running guest's disks: in, out, and reading what was there before.
//
//   guest ──▶ its disk                    as before
//     └─────▶ a socket of ours, over NBD  each write once the disk has it; the guest's write ends when both do
//
// What answers at our end must answer at once, or close: see docs/disks.md. If we die, the guest goes on by itself.
// Calls are made on one thread, outside of pauses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "hypervisor/domain.hpp"

namespace remus::hypervisor {

class GuestDisks {
 public:
  GuestDisks() = default;
  GuestDisks(const GuestDisks&) = delete;
  GuestDisks& operator=(const GuestDisks&) = delete;
  virtual ~GuestDisks() = default;  ///< leaves all of them

  /// As in the guest's description.
  [[nodiscard]] virtual const std::vector<GuestDisk>& list() const = 0;

  /// Every write, zero and discard that the guest begins after this returns reaches the NBD server that `serve` starts on
  /// its end of a connection. Nothing is changed on failure. A disk that is followed no more is first left.
  virtual Status follow(std::size_t disk, const std::function<Status(Fd)>& serve) = 0;
  /// Those of which writes are missing. None ever comes right by itself, so a disk that is not among them after a pause was
  /// whole at it. Errors: nobody knows; all are to count as broken.
  [[nodiscard]] virtual Result<std::vector<std::size_t>> broken() = 0;
  /// The guest writes to its disk alone. Idempotent.
  virtual Status leave(std::size_t disk) = 0;

  /// Where the disk is read as it is: an NBD export, or its raw image on this host.
  struct Reading {
    std::filesystem::path socket{};
    std::string name{};             ///< of the NBD export
    std::filesystem::path image{};  ///< if not empty
  };
  /// Lets the disk be read until end_reading(). Errors: refused, and those of the hypervisor.
  virtual Result<Reading> read(std::size_t disk) = 0;
  virtual Status end_reading() = 0;

  // Records: a hypervisor may keep by itself which regions of the disks are written. They outlive us, but not the guest.
  struct Range {
    std::uint64_t offset{};
    std::uint64_t bytes{};
    bool operator==(const Range&) const = default;
  };
  /// Every write, zero and discard to any of the disks that ends after this returns is in it. Who keeps none does nothing.
  virtual Status begin_record(const std::string& /*name*/) { return {}; }
  /// The names of those that are kept of all disks, without a gap since they were begun.
  [[nodiscard]] virtual Result<std::vector<std::string>> records() { return std::vector<std::string>{}; }
  /// What the record has of this disk, by rising offset. It ends. Ends reading, too.
  [[nodiscard]] virtual Result<std::vector<Range>> take_record(std::size_t /*disk*/,
                                                               const std::string& /*name*/) {
    return fail(Errc::unsupported, "nothing is recorded of the guest's disks");
  }
  /// All others end. Idempotent.
  virtual Status end_records(const std::vector<std::string>& /*except*/) { return {}; }
};

}  // namespace remus::hypervisor
