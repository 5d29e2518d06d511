#include "disk/replica_set.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/assert.hpp"
#include "base/fault.hpp"
#include "disk/journal_recovery.hpp"
#include "disk/mutation.hpp"

namespace remus::disk {
namespace {

std::vector<std::uint64_t> sizes(const std::vector<ReplicaDisk>& disks) {
  std::vector<std::uint64_t> out;
  out.reserve(disks.size());
  for (const ReplicaDisk& disk : disks) out.push_back(disk.bytes);
  return out;
}

}  // namespace

Result<std::unique_ptr<ReplicaSet>> ReplicaSet::open(StorageFolder& folder, std::vector<ReplicaDisk> disks,
                                                     const ReplicaSettings& settings) {
  for (const ReplicaDisk& disk : disks) {
    const auto bytes = disk.file->size();
    if (!bytes) return std::unexpected(bytes.error());
    if (*bytes == disk.bytes) continue;
    if (*bytes != 0)
      return fail(Errc::incompatible,
                  fmt::format("'{}' has {} bytes, the guest's disk has {}", disk.name, *bytes, disk.bytes),
                  "name a replica of the same size, or an empty file");
    if (auto status = disk.file->resize(disk.bytes); !status)
      return std::unexpected(std::move(status.error()));
  }
  return std::unique_ptr<ReplicaSet>{new ReplicaSet{folder, std::move(disks), settings}};
}

ReplicaSet::ReplicaSet(StorageFolder& folder, std::vector<ReplicaDisk> disks, const ReplicaSettings& settings)
    : folder_{folder},
      disks_{std::move(disks)},
      settings_{settings},
      receiver_{sizes(disks_)},
      applier_{sizes(disks_)} {}

ReplicaRecord ReplicaSet::record(ReplicaPhase phase, Epoch epoch) const {
  return {phase, session_, epoch, sizes(disks_)};
}

Status ReplicaSet::begin_session(std::uint64_t session) {
  if (journaled_) {
    if (auto status = finish(journal_->next_epoch()); !status) return status;
  }
  session_ = session;
  activated_.reset();
  journaled_ = false;
  recovered_end_ = 0;
  journal_.reset();
  if (auto status = write_record(folder_, record(ReplicaPhase::synchronizing, 0)); !status) return status;
  REMUS_FAULT_POINT("disk.session_recorded");
  auto journal = Journal::create(folder_, session, settings_.journal);
  if (!journal) return std::unexpected(std::move(journal.error()));
  journal_ = std::move(*journal);
  applied_end_ = survives_ = 0;
  return {};
}

Status ReplicaSet::write(std::span<const std::byte> payload) {
  return applier_.visit(payload, [&](DiskIndex disk, const Write& write) -> Status {
    StorageFile& file = *disks_[disk].file;
    unsettled_bytes_ += write.bytes;
    switch (write.kind) {
      case WriteKind::data: return file.write(write.offset, write.data);
      case WriteKind::zero: return file.zero(write.offset, write.bytes, false);
      case WriteKind::zero_unmap:
      case WriteKind::trim: return file.zero(write.offset, write.bytes, true);
    }
    return {};
  });
}

Status ReplicaSet::synchronize(std::span<const std::byte> payload) {
  REMUS_ASSERT("S4", !journaled_, "what is not part of an epoch reaches replicas only before epoch 0");
  if (auto status = write(payload); !status) return status;
  return unsettled_bytes_ >= settings_.settle_bytes ? make_durable() : Status{};
}

Result<WriteBatchSummary> ReplicaSet::hold(std::span<const std::byte> payload) {
  auto summary = receiver_.validate(payload);
  if (!summary) return summary;
  if (mutated(Mutation::apply_before_commit)) static_cast<void>(write(payload));
  if (auto status = journal_->append(payload); !status) return std::unexpected(std::move(status.error()));
  REMUS_FAULT_POINT("disk.held");
  return summary;
}

Status ReplicaSet::commit(Epoch epoch, std::uint32_t batches) {
  if (epoch != journal_->next_epoch())
    return fail(Errc::corrupt,
                fmt::format("disk writes of epoch {} came, {} is next", epoch, journal_->next_epoch()));
  if (batches != journal_->batches() && !mutated(Mutation::commit_before_whole))
    return fail(Errc::corrupt, fmt::format("epoch {} has {} batches of disk writes, {} came", epoch, batches,
                                           journal_->batches()));
  if (auto status = journal_->commit(); !status) return status;
  REMUS_FAULT_POINT("disk.committed");
  return {};
}

void ReplicaSet::drop_torn() noexcept {
  if (journal_) journal_->drop_torn();
}

Status ReplicaSet::make_durable() {
  if (!failed_) return failed_;
  for (const ReplicaDisk& disk : disks_) {
    if (auto status = disk.file->synchronize(); !status) return failed_ = status;
  }
  unsettled_bytes_ = 0;
  return {};
}

/// What the synchronization brought is durable before the record says that the replicas are whole, and so is what it left out:
/// that may be somebody's who died before he had made it so.
Status ReplicaSet::first_epoch() {
  if (auto status = make_durable(); !status) return status;
  if (auto status = write_record(folder_, record(ReplicaPhase::journaled, 0)); !status) return status;
  journaled_ = true;
  return {};
}

Status ReplicaSet::apply(Epoch epoch) {
  REMUS_ASSERT("S4", epoch == applied_end_ && epoch < journal_->next_epoch(),
               "epochs are applied one after the other, and only committed ones");
  if (!failed_) return failed_;
  if (epoch >= survives_ && !mutated(Mutation::apply_without_journal_sync) &&
      (epoch == 0 || !journal_->writes_nothing(epoch))) {
    const auto end = journal_->synchronize();
    if (!end) return std::unexpected(end.error());
    survives_ = *end;
    REMUS_FAULT_POINT("disk.journal_durable");
  }
  if (!journaled_) {
    if (auto status = first_epoch(); !status) return status;
  }
  auto status = journal_->read(epoch, [this](std::span<const std::byte> payload) { return write(payload); });
  if (!status) return status;
  REMUS_FAULT_POINT("disk.applied");
  applied_end_ = epoch + 1;
  return {};
}

Status ReplicaSet::settle() {
  const Epoch end = applied_end_;
  if (!mutated(Mutation::release_without_replica_sync)) {
    if (auto status = make_durable(); !status) return status;
  }
  REMUS_FAULT_POINT("disk.settled");
  return journal_->release(end);
}

Status ReplicaSet::finish(Epoch end) {
  for (Epoch epoch = applied_end_; epoch < end; ++epoch) {
    if (auto status = apply(epoch); !status) return status;
  }
  return make_durable();
}

Status ReplicaSet::activate(Epoch last) {
  if (activated_ == last) return {};  // what was to be started from them failed to, and is tried again
  REMUS_ASSERT("S4", journal_ != nullptr && last < journal_->next_epoch() && applied_end_ <= last + 1,
               "replicas are activated at a committed epoch, and hold nothing later");
  journal_->drop_torn();
  if (auto status = finish(last + 1); !status) return status;
  if (auto status = write_record(folder_, record(ReplicaPhase::active, last)); !status) return status;
  REMUS_FAULT_POINT("disk.activated");
  activated_ = last;
  journal_.reset();
  journaled_ = false;
  // What cannot be removed now is never looked at again, and goes when the next session begins.
  static_cast<void>(Journal::remove(folder_));
  return {};
}

Epoch ReplicaSet::committed_end() const noexcept {
  return journal_ ? journal_->next_epoch() : 0;
}

Epoch ReplicaSet::whole_end() const noexcept {
  return journaled_ ? journal_->next_epoch() : recovered_end_;
}

Epoch ReplicaSet::survives() const noexcept {
  if (mutated(Mutation::durable_too_early) && journal_) return journal_->next_epoch();
  return survives_;
}

Result<ReplicaSet::Recovered> ReplicaSet::recover() {
  auto known = read_record(folder_);
  if (!known) return std::unexpected(std::move(known.error()));
  if (known->disk_bytes != sizes(disks_))
    return fail(Errc::incompatible, "the replicas found here are of other disks than the guest's",
                "synchronize the guest anew");
  session_ = known->session;
  switch (known->phase) {
    case ReplicaPhase::synchronizing:
      return fail(Errc::refused,
                  "the replicas were being synchronized when this host stopped: they are not whole",
                  "synchronize the guest anew");
    case ReplicaPhase::active:
      return fail(Errc::refused, "a guest was started from these disks: they are replicas no more");
    case ReplicaPhase::settled: recovered_end_ = known->epoch + 1; return Recovered{session_, known->epoch};
    case ReplicaPhase::journaled: break;
  }
  const auto content =
      replay_journal(folder_, session_,
                     [this](Epoch, std::span<const std::byte> payload) -> Status { return write(payload); });
  if (!content) return std::unexpected(content.error());
  if (content->end == 0) return fail(Errc::corrupt, "the journal of disk writes does not hold epoch 0");
  if (auto status = make_durable(); !status) return std::unexpected(std::move(status.error()));
  if (auto status = write_record(folder_, record(ReplicaPhase::settled, content->end - 1)); !status)
    return std::unexpected(std::move(status.error()));
  if (auto status = Journal::remove(folder_); !status) return std::unexpected(std::move(status.error()));
  recovered_end_ = content->end;
  return Recovered{session_, content->end - 1};
}

}  // namespace remus::disk
