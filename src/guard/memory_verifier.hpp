// Compares a guest's memory with the backup's image while the guest runs: some of it at each of many checkpoints, so
// that the guest never stands still for all of it.
//
//   main loop          begin ──────────────── go_on ───────────────── go_on ······ until whole()
//   capture thread       └ pages 0 … k of epoch e ─┘ └ pages k+1 … of epoch f ─┘
//
// Each page is compared as it was at one commit. What is not read yet may change as it likes.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>

#include "engine/types.hpp"
#include "guard/memory_hashes.hpp"
#include "hypervisor/domain.hpp"

namespace remus::guard {

class MemoryVerifier final {
 public:
  /// What is read in one pause. It must outlive the capture.
  struct Slice {
    std::uint64_t id{};
    bool disks{};                  ///< to be compared, too, once the memory has been
    checkpoint::PageIndex next{};  ///< behind all that has been read
    std::chrono::microseconds pause_max{};
    MemoryHashes hashes;
    bool last{true};  ///< nothing is left behind it
    bool read{};      ///< what still comes only replaces
  };

  // --- main loop ---
  /// The guest may stand still so long for each slice. One that is under way is forgotten.
  void begin(std::uint64_t id, bool disks, std::chrono::microseconds pause_max);
  /// The backup has compared the slice before: the next capture reads more.
  void go_on(std::uint64_t id);
  void forget();
  /// The last slice has been read.
  [[nodiscard]] bool whole(std::uint64_t id) const;
  /// Pages that have been read.
  [[nodiscard]] checkpoint::PageIndex reached() const;

  // --- capture thread ---
  /// If this capture shall read one. `session` is the seed of the hashes.
  [[nodiscard]] std::optional<Slice> next(engine::Session session);
  /// Within the pause. What cannot be read leaves the slice empty, and last.
  void read(hypervisor::Domain& domain, Slice& slice);

 private:
  mutable std::mutex mutex_{};
  std::uint64_t id_{};  ///< 0: none
  bool disks_{};
  bool wanted_{};
  bool whole_{};
  std::chrono::microseconds pause_max_{};
  checkpoint::PageIndex next_{};
};

}  // namespace remus::guard
