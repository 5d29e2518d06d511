// What a host remembers of a guest's replicas, so that after a restart nobody takes them for more than they are.
#pragma once

#include <string>
#include <vector>

#include "disk/journal.hpp"

namespace remus::disk {

enum class ReplicaPhase : std::uint8_t {
  synchronizing,  ///< between two states: they stand for nothing
  journaled,      ///< epochs of the journal make them whole
  settled,        ///< whole at `epoch`, without a journal
  active,         ///< a guest has been started from them: they are its disks
};

struct ReplicaRecord {
  ReplicaPhase phase{};
  std::uint64_t session{};
  Epoch epoch{};  ///< settled, active: the last one they hold
  std::vector<std::uint64_t> disk_bytes{};
};

[[nodiscard]] Status write_record(StorageFolder& folder, const ReplicaRecord& record);
/// Errors: not_found (no replicas are known here), corrupt, io.
[[nodiscard]] Result<ReplicaRecord> read_record(StorageFolder& folder);

}  // namespace remus::disk
