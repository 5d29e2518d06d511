// A guest's disks on the backup: which files and volumes they are, and whether they may be written to.
//
// A replica takes what the administrator named, or the place that the image has on the primary. What is there already is
// overwritten only if it is known to have been this guest's, or if that was asked for: a mistyped path must not
// cost anybody a disk.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "disk/replica_set.hpp"
#include "engine/types.hpp"
#include "guard/disk_places.hpp"
#include "hypervisor/standby.hpp"

namespace remus::guard {

struct BackupDisks {
  std::unique_ptr<disk::StorageFolder> folder{};  ///< outlives the replicas
  std::unique_ptr<disk::ReplicaSet> replicas{};   ///< null: the guest has none
  std::map<std::string, hypervisor::ReplicaPlace> places{};
  /// The session whose disks they are replicas of, whole or in part; 0: of none.
  engine::Session base{};
  std::string found{};  ///< what was there, in a sentence; empty: nothing
};

/// `earlier`: the generation under which this host ran the guest last; 0: never. Errors: refused, exists, incompatible
/// (size), not_found (no such directory), denied, exhausted, io.
[[nodiscard]] Result<BackupDisks> open_backup_disks(const GuardSpec& spec,
                                                    const hypervisor::GuestDescription& guest,
                                                    std::uint64_t earlier);

}  // namespace remus::guard
