// Faults put into the replicas' code on purpose, to prove that crash tests and simulator would find them.
//
// Each breaks one rule that S4 rests on. See base/mutated.hpp.
#pragma once

#include <string_view>

#include "base/mutated.hpp"

namespace remus::disk {

enum class Mutation {
  none,
  apply_before_commit,           ///< an epoch's writes go to the replica as they arrive
  commit_before_whole,           ///< an epoch counts as held although batches of it are missing
  apply_without_journal_sync,    ///< the replica is written before the journal survives a power cut
  release_without_replica_sync,  ///< the journal is dropped before the replica survives a power cut
  replay_backwards,              ///< recovery applies epochs out of order
  replay_torn,                   ///< recovery takes an epoch without looking at its checksums
  torn_kept,                     ///< what came of an epoch before its link was lost stays part of it
  map_without_sync,              ///< a region's first write is answered before the map survives a power cut
  map_cleaned_early,             ///< regions become clean although their writes may be lost with the backup
  durable_too_early,             ///< the primary is told that an epoch survives before it does
};

/// Those of journal and replicas.
inline constexpr Mutation all_mutations[] = {
    Mutation::apply_before_commit,
    Mutation::commit_before_whole,
    Mutation::apply_without_journal_sync,
    Mutation::release_without_replica_sync,
    Mutation::replay_backwards,
    Mutation::replay_torn,
    Mutation::torn_kept,
    Mutation::durable_too_early,
};
/// Those of the resync map.
inline constexpr Mutation map_mutations[] = {
    Mutation::map_without_sync,
    Mutation::map_cleaned_early,
};

[[nodiscard]] constexpr std::string_view to_string(Mutation mutation) noexcept {
  switch (mutation) {
    case Mutation::none: return "none";
    case Mutation::apply_before_commit: return "apply_before_commit";
    case Mutation::commit_before_whole: return "commit_before_whole";
    case Mutation::apply_without_journal_sync: return "apply_without_journal_sync";
    case Mutation::release_without_replica_sync: return "release_without_replica_sync";
    case Mutation::replay_backwards: return "replay_backwards";
    case Mutation::replay_torn: return "replay_torn";
    case Mutation::torn_kept: return "torn_kept";
    case Mutation::map_without_sync: return "map_without_sync";
    case Mutation::map_cleaned_early: return "map_cleaned_early";
    case Mutation::durable_too_early: return "durable_too_early";
  }
  return "?";
}

}  // namespace remus::disk
