#include "guard/epoch_cuts.hpp"

#include <algorithm>
#include <utility>

namespace remus::guard {

using engine::Epoch;

void EpochCuts::clear() {
  *this = {};
}

void EpochCuts::add(Epoch epoch, const Portions& portions, bool nothing) {
  unheld_.push_back({epoch, portions, nothing});
  unsurvived_.push_back({epoch, portions, nothing});
}

EpochCuts::Portions EpochCuts::held(Epoch upto) {
  Portions portions;
  while (!unheld_.empty() && unheld_.front().epoch <= upto) {
    portions = std::move(unheld_.front().portions);
    unheld_.pop_front();
  }
  return portions;
}

EpochCuts::Portions EpochCuts::survive(Epoch end) {
  base_survives_ = base_survives_ || end > 0;
  survived_end_ = std::max(survived_end_, end);
  Portions portions;
  // The backup makes nothing durable for an epoch that wrote nothing; it survives with those before it. Otherwise the map
  // would keep what was written before a disk became quiet.
  while (!unsurvived_.empty() &&
         (unsurvived_.front().epoch < end || (base_survives_ && unsurvived_.front().nothing))) {
    portions = std::move(unsurvived_.front().portions);
    unsurvived_.pop_front();
  }
  return portions;
}

}  // namespace remus::guard
