// Replica's part in replicating the guest's disks: what comes of them is held, committed, applied and activated with its
// memory.
#include <fmt/format.h>

#include <utility>

#include "base/fault.hpp"
#include "guard/replica.hpp"

namespace remus::guard {

using engine::Epoch;
using engine::Session;

// --- main loop ---

void Replica::receive(link::DiskSync message, std::size_t bulk_bytes) {
  const Session session = session_;
  if (message.session != session) return credit(bulk_bytes);
  apply_->post([this, session, bulk_bytes, message = std::move(message)] {
    if (current(session) && !sync_failed_) {
      REMUS_FAULT_POINT("sync.disk");
      const Status done = disks_.replicas ? disks_.replicas->synchronize(message.data.bytes())
                                          : fail(Errc::corrupt, "disk writes came for a guest without disks");
      if (!done) {
        sync_failed_ = true;
        malformed(session, done.error().what);
      }
    }
    post([this, bulk_bytes] { credit(bulk_bytes); });
  });
}

void Replica::receive(link::DiskWrites message, std::size_t bulk_bytes) {
  if (!assembling_ || assembling_->epoch != message.epoch || message.batch != assembling_->disk_batches ||
      !disks_.replicas) {
    credit(bulk_bytes);
    return malformed(session_, fmt::format("disk writes of epoch {}, batch {}, are out of place",
                                           message.epoch, message.batch));
  }
  REMUS_FAULT_POINT("recv.disk_writes");
  ++assembling_->disk_batches;
  assembling_->disk_bytes += message.data.size();
  // The journal is a file, whose memory the kernel bounds; what is not in it yet counts against the window.
  const Session session = session_;
  check_->post([this, session, held = assembling_, bulk_bytes, message = std::move(message)] {
    if (current(session) && !held->fault)
      if (const auto kept = disks_.replicas->hold(message.data.bytes()); !kept) held->fault = kept.error();
    post([this, bulk_bytes] { credit(bulk_bytes); });
  });
}

// --- check thread ---

Status Replica::commit_disks(const HeldEpoch& held) {
  if (!disks_.replicas) return {};
  if (held.epoch < disks_.replicas->committed_end()) {
    // Sent again: the primary came back before the main loop had heard that it was whole.
    disks_.replicas->drop_torn();
    return {};
  }
  return disks_.replicas->commit(held.epoch, held.disk_batches);
}

// --- apply thread ---

Status Replica::begin_disks(Session session, Session& base) {
  if (!disks_.replicas) {
    base = 0;
    return {};
  }
  const Session found = std::exchange(disks_.base, session);
  if (base != found) base = 0;
  return disks_.replicas->begin_session(session);
}

Status Replica::apply_disks(Epoch epoch) {
  return disks_.replicas ? disks_.replicas->apply(epoch) : Status{};
}

void Replica::settle_disks(Session session) {
  if (!disks_.replicas || !disks_.replicas->wants_settling()) return;
  if (const Status settled = disks_.replicas->settle(); !settled)
    post([this, session, error = settled.error()] { events_.apply_failed(session, error); });
}

Status Replica::activate_disks(Epoch epoch) {
  if (!disks_.replicas) return {};
  if (const Status ready = disks_.replicas->activate(epoch); !ready)
    return std::unexpected(ready.error().in("the guest's disks"));
  return {};
}

}  // namespace remus::guard
