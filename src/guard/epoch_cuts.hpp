// Where the disks' logs are cut between epochs, and which cuts nobody needs any more.
//
//   epoch      0  │  1  │  2  │  3  │  4
//   held      ━━━━━━━━━━━━━━━━━━▶            the backup holds it: what the logs have of it may go
//   survives  ━━━━━━━━━━━━▶                  even if its host dies: the resynchronization maps may forget it
//
// A cut is one portion's number a disk. Not thread-safe.
#pragma once

#include <deque>
#include <vector>

#include "disk/portion.hpp"
#include "engine/types.hpp"

namespace remus::guard {

class EpochCuts final {
 public:
  using Portions = std::vector<disk::PortionNumber>;

  void clear();
  /// The epoch ends with these portions; epochs rise. `nothing`: not even a zero or a trim was written in it.
  void add(engine::Epoch epoch, const Portions& portions, bool nothing);
  /// The backup holds all epochs ≤ `upto`. The last portions of them; empty if that is nothing new.
  [[nodiscard]] Portions held(engine::Epoch upto);
  /// Epochs before `end` survive the death of the backup's host. The last portions of what survives; empty if that is nothing new.
  [[nodiscard]] Portions survive(engine::Epoch end);
  [[nodiscard]] engine::Epoch survived_end() const noexcept { return survived_end_; }

 private:
  struct Cut {
    engine::Epoch epoch{};
    Portions portions{};
    bool nothing{};
  };
  std::deque<Cut> unheld_{};
  std::deque<Cut> unsurvived_{};
  engine::Epoch survived_end_{};
  bool base_survives_{};  ///< the synchronization's writes, that is
};

}  // namespace remus::guard
