// What a synchronization of disks may build on: the replicas of an earlier session, if what was written since is known.
#pragma once

#include "engine/types.hpp"

namespace remus::guard {

struct DisksBase {
  engine::Session session{};  ///< 0: none, all is to be looked at
  /// So many epochs of it the replicas must hold, since nothing is known of what was written in those; 0: none, not even whole
  /// need they be.
  engine::Epoch epochs{};
};

}  // namespace remus::guard
