// The seam to a running guest on the primary.
//
// Life: attach (construction by the hypervisor's factory) → synchronize → capture, capture, ... → detach.
// All blocking calls are made on one capture thread; interrupt() may be called from any thread.
// Every return, also with an error, leaves the guest running (invariant S6) unless the guest is gone.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "checkpoint/sink.hpp"

namespace remus::hypervisor {

/// What one capture cost and found. Times in microseconds.
struct CaptureReport {
  std::uint64_t pause_us{};   ///< the guest stands still → it runs again
  std::uint64_t stop_us{};    ///< before that: asked to stop → it stands still
  std::uint64_t freeze_us{};  ///< of that: it suspends itself (Xen guests with PV drivers)
  std::uint64_t drain_us{};   ///< of the pause: until its devices are at rest, its disks' requests among them
  std::uint64_t
      mark_us{};  ///< of the pause, in sink.paused(): its output and disks are marked (told by the sink's owner)
  std::uint64_t
      verify_us{};  ///< of the pause, in sink.paused(): memory is read to be verified (told by the sink's owner)
  std::uint64_t copy_us{};    ///< pages into the sink
  std::uint64_t device_us{};  ///< device state into the sink; on Xen some of it when the guest runs again
  std::uint64_t pages{};      ///< pages with content
  std::uint64_t zero_pages{};
  std::uint64_t device_bytes{};

  /// What the guest's programs and its users lose by this checkpoint.
  [[nodiscard]] std::uint64_t held_us() const noexcept { return freeze_us + pause_us; }
};

/// How far a synchronization has come. Called a few times a second from the capture thread.
struct SyncProgress {
  std::uint64_t done_bytes{};
  std::uint64_t total_bytes{};
};

/// Gets a run of whole pages, at most 1 MiB, from page `first` on. False: it wants no more.
using MemoryVisit = std::function<bool(checkpoint::PageIndex first, std::span<const std::byte> pages)>;

/// A disk of the guest whose writes are replicated.
struct GuestDisk {
  std::string name{};  ///< how its administrator calls it
  std::uint64_t bytes{};
  std::string image{};   ///< where it is on the primary; empty: not a file or a device
  std::string format{};  ///< of the image: "raw", "qcow2", ...
  bool operator==(const GuestDisk&) const = default;
};

/// The guest as the other side needs to know it to build a standby. `details` belongs to the hypervisor's room
/// (for QEMU: version, machine, derived command line, what files must exist) and is opaque elsewhere.
struct GuestDescription {
  std::string hypervisor{};  ///< "qemu", "xen"
  std::string version{};     ///< of the hypervisor, e.g. "7.2.22"
  std::uint64_t memory_bytes{};
  nlohmann::json details{};
  std::vector<GuestDisk> disks{};  ///< in the order in which the guards number them
};

class Domain {
 public:
  Domain() = default;
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;
  virtual ~Domain() = default;

  [[nodiscard]] virtual const GuestDescription& description() const = 0;

  /// Sends all of the guest's memory to `sink` while the guest runs, then pauses it once: sink.paused(), the rest of
  /// the pages, device state. What reached the sink is then the guest exactly at epoch 0. The guest resumes.
  /// May be called again after detach(), for a resynchronization.
  virtual Result<CaptureReport> synchronize(checkpoint::CheckpointSink& sink,
                                            const std::function<void(SyncProgress)>& progress) = 0;

  /// Waits until the hypervisor can take a checkpoint (normally at once) without stopping the guest.
  virtual Status ready() = 0;

  /// One checkpoint: guest paused → sink.paused() → every page dirtied since the last capture and the device state
  /// reach the sink → guest resumed.
  virtual Result<CaptureReport> capture(checkpoint::Epoch epoch, checkpoint::CheckpointSink& sink) = 0;

  /// Ends checkpointing and leaves the guest running as if it had never been protected. Idempotent.
  virtual Status detach() = 0;

  /// Makes a blocking call return Errc::closed soon; the guest is left running. Thread-safe.
  virtual void interrupt() = 0;

  /// True while the guest's process or domain exists. Does not block.
  [[nodiscard]] virtual bool alive() const = 0;

  /// Reads the guest's true memory (not what was captured), for `remus verify`: the pages from `from` on, in
  /// ascending order, until `visit` says false or there are no more. Only valid from within sink.paused() .. return of
  /// capture, i.e. while the guest is paused. Until capture() returns `visit` may get pages again, as they were captured,
  /// of those it got and others, because somebody else than the guest wrote to them meanwhile. What it got last counts.
  virtual Status read_memory(checkpoint::PageIndex from, const MemoryVisit& visit) = 0;
};

}  // namespace remus::hypervisor
