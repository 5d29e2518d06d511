#include "disk/journal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.hpp"
#include "checkpoint/wire.hpp"
#include "disk/mutation.hpp"

namespace remus::disk {

using journal_format::Record;
using journal_format::RecordKind;

Status Journal::remove(StorageFolder& folder) {
  const auto indices = journal_format::segments_in(folder);
  if (!indices) return std::unexpected(indices.error());
  for (const std::uint64_t one : *indices) {
    if (auto status = folder.remove(journal_format::segment_name(one)); !status) return status;
    // One by one, so that what a power cut leaves is a row without gaps.
    if (auto status = folder.synchronize(); !status) return status;
  }
  return {};
}

Result<std::unique_ptr<Journal>> Journal::create(StorageFolder& folder, std::uint64_t identity,
                                                 const JournalSettings& settings) {
  if (auto status = remove(folder); !status) return std::unexpected(std::move(status.error()));
  std::unique_ptr<Journal> journal{new Journal{folder, identity, settings}};
  if (auto status = journal->begin_segment(); !status) return std::unexpected(std::move(status.error()));
  return journal;
}

/// A segment is there, durably, before anything is written to it: segments are never missing in the middle.
Status Journal::begin_segment() {
  auto segment = std::make_shared<SegmentFile>();
  segment->index = segments_.empty() ? 0 : segments_.back()->index + 1;
  segment->first_epoch = next_epoch_;
  segment->used = segment->durable = journal_format::segment_header_bytes;
  const std::string name = journal_format::segment_name(segment->index);
  if (auto status = folder_.remove(name); !status) return status;  // one that could not be begun before
  auto file = folder_.create(name);
  if (!file) return std::unexpected(std::move(file.error()));
  segment->file = std::move(*file);
  const auto header = journal_format::segment_header({identity_, segment->index, segment->first_epoch});
  if (auto status = segment->file->write(0, header); !status) return status;
  if (auto status = segment->file->synchronize(); !status) return status;
  if (auto status = folder_.synchronize(); !status) return status;
  at_ = segment->used;
  const std::lock_guard lock{mutex_};
  segments_.push_back(std::move(segment));
  return {};
}

Status Journal::put(RecordKind kind, std::uint32_t number, std::span<const std::byte> payload) {
  Record record{kind, 0, number, identity_, 0, 0, 0};
  std::shared_ptr<SegmentFile> segment;
  std::uint64_t total = 0;
  {
    const std::lock_guard lock{mutex_};
    record.epoch = next_epoch_;
    record.survives = survives_;
    segment = segments_.back();
    for (const auto& one : segments_) total += one == segment ? at_ : one->used;
  }
  const std::uint64_t bytes = journal_format::record_bytes(payload.size());
  if (total + bytes > settings_.journal_bytes_max)
    return fail(
        Errc::exhausted,
        fmt::format("disk writes that wait to be applied would need more than the {} MiB set aside for them",
                    settings_.journal_bytes_max >> 20),
        "give the journal more room, or the backup quicker disks");
  out_.resize(static_cast<std::size_t>(bytes));
  journal_format::put_record(record, payload, out_);
  if (auto status = segment->file->write(at_, out_); !status) return status;
  at_ += bytes;
  chain_ = journal_format::chain(chain_, record.checksum);
  return {};
}

Status Journal::begin_epoch() {
  chain_ = 0;
  return at_ >= settings_.segment_bytes ? begin_segment() : Status{};
}

Status Journal::append(std::span<const std::byte> payload) {
  if (batches_ == 0) {
    if (auto status = begin_epoch(); !status) return status;
  }
  if (auto status = put(RecordKind::batch, batches_, payload); !status) return status;
  ++batches_;
  return {};
}

Status Journal::commit() {
  if (batches_ == 0) {
    if (auto status = begin_epoch(); !status) return status;
  }
  std::array<std::byte, 8> hash{};
  checkpoint::wire::store(hash.data(), chain_);
  if (auto status = put(RecordKind::commit, batches_, hash); !status) return status;
  at_ = journal_format::round_up(at_, journal_format::block_bytes);
  const std::lock_guard lock{mutex_};
  const auto& segment = segments_.back();
  kept_.emplace(next_epoch_, Kept{segment, segment->used, batches_});
  segment->used = at_;
  ++next_epoch_;
  batches_ = 0;
  return {};
}

void Journal::drop_torn() noexcept {
  batches_ = 0;
  if (mutated(Mutation::torn_kept)) return;
  const std::lock_guard lock{mutex_};
  at_ = segments_.back()->used;
}

Epoch Journal::next_epoch() const {
  const std::lock_guard lock{mutex_};
  return next_epoch_;
}

Result<Epoch> Journal::synchronize() {
  if (!failed_) return std::unexpected(failed_.error());
  struct Behind {
    std::shared_ptr<SegmentFile> segment;
    std::uint64_t used;
  };
  std::vector<Behind> behind;
  Epoch end = 0;
  {
    const std::lock_guard lock{mutex_};
    end = next_epoch_;
    for (const auto& segment : segments_) {
      if (segment->durable < segment->used) behind.push_back({segment, segment->used});
    }
  }
  for (const Behind& one : behind) {
    if (auto status = one.segment->file->synchronize(); !status) {
      failed_ = status;
      return std::unexpected(std::move(status.error()));
    }
  }
  const std::lock_guard lock{mutex_};
  for (const Behind& one : behind) one.segment->durable = one.used;
  survives_ = end;
  return end;
}

Status Journal::read_record(SegmentFile& segment, std::uint64_t at, Record& record) {
  const auto damaged = [&] {
    return fail(Errc::corrupt,
                fmt::format("the journal of disk writes is damaged in '{}' at {}",
                            journal_format::segment_name(segment.index), at),
                "look for faults of memory and disk on this host; the guest must be synchronized anew");
  };
  in_.resize(journal_format::record_header_bytes + write_batch_payload_bytes_max);
  const auto header = std::span{in_}.first(journal_format::record_header_bytes);
  if (auto status = segment.file->read(at, header); !status) return status;
  if (!journal_format::get_header(header, identity_, record)) return damaged();
  const auto payload = std::span{in_}.subspan(journal_format::record_header_bytes, record.payload_bytes);
  if (auto status = segment.file->read(at + journal_format::record_header_bytes, payload); !status)
    return status;
  if (!journal_format::sound(header, payload, record)) return damaged();
  return {};
}

Status Journal::read(Epoch epoch, const std::function<Status(std::span<const std::byte>)>& visitor) {
  Kept kept{};
  {
    const std::lock_guard lock{mutex_};
    const auto found = kept_.find(epoch);
    REMUS_ASSERT("pre", found != kept_.end(), "an epoch that is read is committed and not released");
    kept = found->second;
  }
  std::uint64_t at = kept.begin;
  for (std::uint32_t i = 0; i < kept.batches; ++i) {
    Record record{};
    if (auto status = read_record(*kept.segment, at, record); !status) return status;
    const auto payload =
        std::span<const std::byte>{in_}.subspan(journal_format::record_header_bytes, record.payload_bytes);
    if (auto status = visitor(payload); !status) return status;
    at += journal_format::record_bytes(record.payload_bytes);
  }
  return {};
}

Status Journal::release(Epoch end) {
  for (;;) {
    std::uint64_t index = 0;
    {
      const std::lock_guard lock{mutex_};
      kept_.erase(kept_.begin(), kept_.lower_bound(end));
      // A segment's epochs end where the next one's begin. The newest is kept: it is being written.
      if (segments_.size() < 2 || segments_[1]->first_epoch > end) return {};
      index = segments_.front()->index;
    }
    // It stays in the row until it is gone for good: what a power cut leaves is a row without gaps.
    if (auto status = folder_.remove(journal_format::segment_name(index)); !status) return status;
    if (auto status = folder_.synchronize(); !status) return status;
    const std::lock_guard lock{mutex_};
    segments_.pop_front();
  }
}

bool Journal::writes_nothing(Epoch epoch) const {
  const std::lock_guard lock{mutex_};
  const auto found = kept_.find(epoch);
  return found != kept_.end() && found->second.batches == 0;
}

std::uint64_t Journal::bytes() const {
  const std::lock_guard lock{mutex_};
  std::uint64_t total = 0;
  for (const auto& segment : segments_) total += segment->used;
  return total;
}

}  // namespace remus::disk
