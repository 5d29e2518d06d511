// The seam to the write path of a running guest's disks: in, out, and reading what was there before.
//
//   guest ──▶ its disk                    as before
//     └─────▶ a socket of ours, over NBD  each write once the disk has it; the guest's write ends when both do
//
// What answers at our end must answer at once, or close: see docs/disks.md. If we die, the guest goes on by itself.
// Calls are made on one thread, outside of pauses.
#pragma once

#include <cstddef>
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
  /// An error once writes are missing: it never goes away by itself, so a disk that is intact after a pause was so at it.
  [[nodiscard]] virtual Status intact(std::size_t disk) = 0;
  /// The guest writes to its disk alone. Idempotent.
  virtual Status leave(std::size_t disk) = 0;

  struct Reading {
    std::filesystem::path socket{};
    std::string name{};  ///< of the NBD export
  };
  /// Serves the disk as it is, read-only, until end_reading(). Errors: refused, and those of the hypervisor.
  virtual Result<Reading> read(std::size_t disk) = 0;
  virtual Status end_reading() = 0;
};

}  // namespace remus::hypervisor
