// The seam to what waits on the backup to be activated.
//
// build() creates the standby before the primary's guest is touched, prepare() yields the memory the backup
// writes committed pages into; from then on activate() takes a short time that does not depend on how much
// memory the guest has.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "checkpoint/layout.hpp"
#include "hypervisor/domain.hpp"

namespace remus::hypervisor {

/// Where the replica of one of the guest's disks is on this host; raw.
struct ReplicaPlace {
  std::filesystem::path path{};
  bool block_device{};  ///< not a file
};

/// The guest's memory on the backup, one writable span per block of the layout, in its order.
struct StandbyMemory {
  checkpoint::Layout layout{};
  std::vector<std::span<std::byte>> blocks{};
};

struct ActivationReport {
  std::uint64_t total_us{};  ///< activate() called → guest running
};

class Standby {
 public:
  Standby() = default;
  Standby(const Standby&) = delete;
  Standby& operator=(const Standby&) = delete;
  virtual ~Standby() = default;  ///< discards what was not activated, leaves what was

  /// Creates the waiting guest and all that this host must have for it: program, devices, network, memory.
  /// What is missing is thereby known before anything is done to the primary's guest. Errors: exhausted
  /// (names what is short and how much), incompatible, refused. Nothing is left after one.
  virtual Status build(const GuestDescription& guest) = 0;

  /// The memory of what was built. `layout` comes from the primary with the synchronization. Builds (anew)
  /// what was not built, was built for another guest, was prepared before, or has ended meanwhile. Errors: as
  /// build().
  virtual Result<StandbyMemory> prepare(const GuestDescription& guest, const checkpoint::Layout& layout) = 0;

  /// Makes the guest run from the image and `device_state`. The image must hold exactly one committed epoch.
  virtual Result<ActivationReport> activate(std::span<const std::byte> device_state) = 0;

  /// Throws the waiting guest and its memory away. Idempotent; nothing of it is left.
  virtual Status discard() = 0;

  /// Whether the waiting (or activated) guest's process exists and has not closed its monitor. Does not block.
  [[nodiscard]] virtual bool healthy() = 0;

  /// How to manage the guest after activation, e.g. {"qmp": "/run/remus/web1/qmp.sock", "pid": 4711}.
  [[nodiscard]] virtual nlohmann::json handle() const = 0;
};

}  // namespace remus::hypervisor
