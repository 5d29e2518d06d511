// PrimaryDisks' part in copying: what a replica may lack is read while the guest writes, and what differs is put into the log.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "base/fault.hpp"
#include "disk/comparing_sink.hpp"
#include "guard/disk_reading.hpp"
#include "guard/primary_disks.hpp"

namespace remus::guard {

using engine::Session;

Status PrimaryDisks::copy(Session base, ReplicaHashes::Ask ask,
                          const std::function<void(Progress)>& progress) {
  hashes_.begin(session_, std::move(ask));
  std::vector<std::vector<disk::DirtyRange>> dirty;
  Progress all;
  for (const auto& one : disks_) {
    const auto map = map_of(*one);
    if (Status renewed = map->stands_for(session_, base != 0); !renewed) {
      one->lost = true;  // a map that cannot be kept is made anew with the next session
      return renewed;
    }
    dirty.push_back(map->dirty());
    {
      const std::lock_guard lock{mutex_};
      base_epochs_ = 0;  // of this session's replica the map knows all
    }
    std::uint64_t bytes = 0;
    for (const auto& range : dirty.back()) bytes += range.bytes;
    one->compared_bytes = 0;
    one->to_compare_bytes = bytes;
    all.total_bytes += bytes;
  }
  Status copied{};
  for (std::size_t i = 0; i < disks_.size() && copied; ++i) {
    const Progress before = all;
    copied = copy_one(i, dirty[i], [&, log = log_of(*disks_[i])](std::uint64_t done) {
      disks_[i]->compared_bytes = done;
      all.done_bytes = before.done_bytes + done;
      all.copied_bytes = before.copied_bytes + log->stats().copied_bytes;
      progress(all);
    });
    if (!copied) copied = std::unexpected(copied.error().in(fmt::format("disk '{}'", disks_[i]->facts.name)));
  }
  end_reading();
  return copied;
}

void PrimaryDisks::end_reading() {
  if (Status ended = guest_->end_reading(); !ended)
    spdlog::warn("ending the reading of the guest's disks: {}", ended.error().text());
}

Result<std::vector<DiskVerifier::Source>> PrimaryDisks::open_for_reading() {
  end_reading();
  std::vector<DiskVerifier::Source> sources;
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    auto reading = guest_->read(i);
    if (!reading) {
      end_reading();
      return std::unexpected(reading.error());
    }
    sources.push_back({disks_[i]->facts.bytes, log_of(*disks_[i]), std::move(*reading)});
  }
  return sources;
}

Status PrimaryDisks::copy_one(std::size_t index, const std::vector<disk::DirtyRange>& dirty,
                              const std::function<void(std::uint64_t)>& progress) {
  if (dirty.empty()) return {};
  std::vector<disk::CopyRange> ranges;
  ranges.reserve(dirty.size());
  for (const auto& range : dirty) ranges.push_back({range.offset, range.bytes});
  const auto reading = guest_->read(index);
  if (!reading) return std::unexpected(reading.error());
  auto reader = open_reader(*reading, disks_[index]->facts.bytes);
  if (!reader) return std::unexpected(reader.error());
  std::stop_token stop;
  {
    const std::lock_guard lock{mutex_};
    stop = stop_.get_token();
  }
  REMUS_FAULT_POINT("disk.copy");
  const auto log = log_of(*disks_[index]);
  // Little waits in the log, so that what the guest writes finds room.
  const auto may_read = [&] {
    return !log->state() ||
           (account_->bytes_out() <= out_bytes_max && pool_->reserved() * disk::chunk_bytes <= out_bytes_max);
  };
  std::uint64_t done = 0;  // pieces before the one under way
  const disk::CopyControl control{
      .bytes_per_s = copy_rate_,
      .stop = stop,
      .progress = [&](const disk::CopyProgress& told) { progress(done + told.done_bytes); },
      .may_read = may_read,
      .align_bytes = ReplicaHashes::block_bytes};
  disk::ComparingSink sink{*log, session_};
  hashes_.choose(static_cast<std::uint16_t>(index), ranges);
  while (const auto piece = hashes_.next(stop)) {
    const auto& known = piece->known;
    if (known && known->content != link::DiskContent::unknown)
      sink.expect({.offset = piece->range.offset,
                   .bytes = piece->range.bytes,
                   .block_bytes = known->of.block_bytes,
                   .zero = known->content == link::DiskContent::zero,
                   .hashes = known->hashes.bytes()});
    else
      sink.forget();
    if (Status copied = (*reader)->copy({&piece->range, 1}, sink, control); !copied) return copied;
    done += piece->range.bytes;
    progress(done);
  }
  return {};
}

}  // namespace remus::guard
