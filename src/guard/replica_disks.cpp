// Replica's part in replicating the guest's disks: what comes of them is held, committed, applied and activated with its
// memory.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "base/fault.hpp"
#include "checkpoint/page_hash.hpp"
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

void Replica::receive(const link::DiskHashesWanted& message) {
  const Session session = session_;
  if (message.session != session) return;
  apply_->post([this, session, message] {
    if (!current(session)) return;
    REMUS_FAULT_POINT("sync.disk_hashes");
    post([this, session, answer = hash_disk(message)] {
      if (current(session)) events_.disk_hashes(answer);
    });
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

Status Replica::begin_disks(Session session, DisksBase& base) {
  if (!disks_.replicas) {
    base = {};
    return {};
  }
  const Session found = std::exchange(disks_.base, session);
  if (base.session != found || base.epochs > disks_.replicas->whole_end()) base = {};
  return disks_.replicas->begin_session(session);
}

link::DiskHashes Replica::hash_disk(const link::DiskHashesWanted& wanted) {
  link::DiskHashes answer{.of = wanted};
  if (!disks_.replicas || wanted.disk >= disks_.replicas->disks()) return answer;
  disk::StorageFile& file = disks_.replicas->file(wanted.disk);
  const std::uint64_t disk_end = disks_.replicas->bytes(wanted.disk);
  const std::uint64_t end =
      std::min(disk_end, wanted.offset + std::uint64_t{wanted.blocks} * wanted.block_bytes);
  // The same number of blocks on both sides, or the disks are not the same.
  if (wanted.offset >= end ||
      (end - wanted.offset + wanted.block_bytes - 1) / wanted.block_bytes != wanted.blocks)
    return answer;
  std::uint64_t data_at = file.next_data(wanted.offset);
  if (data_at >= end) {
    answer.content = link::DiskContent::zero;
    return answer;
  }
  const checkpoint::PageHasher hasher{wanted.session};
  std::vector<std::byte> block(wanted.block_bytes);
  std::vector<std::byte> hashes;
  hashes.reserve(wanted.blocks * sizeof(checkpoint::Hash128));
  for (std::uint64_t at = wanted.offset; at < end; at += wanted.block_bytes) {
    const std::span part{block.data(),
                         static_cast<std::size_t>(std::min<std::uint64_t>(wanted.block_bytes, end - at))};
    if (data_at < at) data_at = file.next_data(at);
    if (data_at >= at + part.size())
      std::ranges::fill(part, std::byte{0});
    else if (const Status read = file.read(at, part); !read) {
      spdlog::warn("what a replica holds cannot be told: {}", read.error().text());
      return answer;
    }
    const checkpoint::Hash128 hash = hasher.of(part);
    const auto bytes = std::as_bytes(std::span{&hash, 1});
    hashes.insert(hashes.end(), bytes.begin(), bytes.end());
  }
  answer.content = link::DiskContent::hashed;
  answer.hashes = link::Payload::own(std::move(hashes));
  return answer;
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
