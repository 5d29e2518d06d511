#include "guard/primary_disks.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/fault.hpp"
#include "disk/comparing_sink.hpp"
#include "disk/posix_storage.hpp"
#include "guard/disk_reading.hpp"

namespace remus::guard {

using disk::PortionNumber;
using engine::Epoch;
using engine::Session;

Result<std::unique_ptr<PrimaryDisks>> PrimaryDisks::create(std::unique_ptr<hypervisor::GuestDisks> guest,
                                                           PrimaryDiskSettings settings) {
  auto pool = disk::ChunkPool::create(settings.room, settings.spill_dir);
  if (!pool) return std::unexpected(pool.error());
  std::unique_ptr<PrimaryDisks> disks{
      new PrimaryDisks{std::move(guest), std::move(settings), std::move(*pool)}};
  for (const auto& one : disks->disks_)
    if (Status made = disks->new_map(*one); !made) return std::unexpected(made.error());
  return disks;
}

PrimaryDisks::PrimaryDisks(std::unique_ptr<hypervisor::GuestDisks> guest, PrimaryDiskSettings settings,
                           std::shared_ptr<disk::ChunkPool> pool)
    : guest_{std::move(guest)},
      settings_{std::move(settings)},
      pool_{std::move(pool)},
      encoder_{settings_.compression, settings_.link_bytes_per_s} {
  for (const auto& facts : guest_->list()) {
    bytes_ += facts.bytes;
    disks_.push_back(std::make_unique<One>());
    disks_.back()->facts = facts;
  }
}

PrimaryDisks::~PrimaryDisks() {
  leave();
}

Status PrimaryDisks::new_map(One& one, disk::ResyncMap::Begin begin) const {
  auto file = disk::open_nameless(settings_.map_dir);
  if (!file) return std::unexpected(file.error());
  auto map = disk::ResyncMap::create(std::move(*file), one.facts.bytes, 0,
                                     disk::ResyncMap::region_bytes_default, begin);
  if (!map) return std::unexpected(map.error());
  const std::lock_guard lock{mutex_};
  one.map = std::move(*map);
  return {};
}

// --- capture thread ---

Status PrimaryDisks::begin(Session session) {
  stop();
  session_ = session;
  {
    const std::lock_guard lock{mutex_};
    stop_ = std::stop_source{};
    cut_into_epochs_ = false;
    unreleased_.clear();
    unsurvived_.clear();
    base_survives_ = false;
    survived_end_ = 0;
  }
  end_reading();  // a verification's of an earlier session
  // Where one has broken, others may have without our having been told yet.
  if (Status asked = note_broken(); !asked) return asked;
  std::vector<std::size_t> lost;
  for (std::size_t i = 0; i < disks_.size(); ++i)
    if (disks_[i]->lost) lost.push_back(i);
  auto record = lost.empty() ? std::nullopt : find_record();
  for (std::size_t i = 0; i < disks_.size(); ++i)
    if (Status begun = begin_one(i, record ? disk::ResyncMap::Begin::clean : disk::ResyncMap::Begin::dirty);
        !begun)
      return std::unexpected(begun.error().in(fmt::format("disk '{}'", disks_[i]->facts.name)));
  if (record) take_record(*record, lost);
  return {};
}

Status PrimaryDisks::begin_one(std::size_t index, disk::ResyncMap::Begin map_begins) {
  One& one = *disks_[index];
  const bool follow = one.lost;
  if (follow) {
    // What was written meanwhile we do not know.
    if (one.server) one.server->stop();
    if (Status fresh = new_map(one, map_begins); !fresh) return fresh;
  }
  PortionNumber marked = 0;
  std::shared_ptr<disk::ResyncMap> map;
  {
    const std::lock_guard lock{mutex_};
    marked = one.marked;
    map = one.map;
  }
  // The log tells the map, so it keeps it.
  const disk::WriteLogSettings settings{.disk_bytes = one.facts.bytes, .first = marked + 1};
  const std::shared_ptr<disk::WriteLog> log{new disk::WriteLog{settings, pool_, map.get()},
                                            [map](const disk::WriteLog* used) { delete used; }};
  one.inlet.lead_to(log);
  {
    const std::lock_guard lock{mutex_};
    one.log = log;
  }
  one.encoded = marked;
  if (!follow) return {};
  one.server = std::make_unique<disk::NbdServer>(disk::NbdExport{.name = "", .bytes = one.facts.bytes},
                                                 one.inlet, [&one](const Status&) { one.lost = true; });
  one.lost = false;
  Status followed = guest_->follow(index, [&one](Fd fd) { return one.server->serve(std::move(fd)); });
  if (!followed) one.lost = true;
  return followed;
}

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

PrimaryDisks::Marks PrimaryDisks::mark(Epoch epoch) {
  const std::lock_guard lock{mutex_};
  cut_into_epochs_ = true;
  Marks marks = mark_locked();
  unreleased_.push_back({epoch, marks.portions, marks.nothing});
  unsurvived_.push_back({epoch, marks.portions, marks.nothing});
  return marks;
}

PrimaryDisks::Marks PrimaryDisks::mark_locked() {
  Marks marks;
  marks.portions.reserve(disks_.size());
  for (const auto& one : disks_) {
    one->marked = one->log->mark();
    marks.portions.push_back(one->marked);
    const auto portion = one->log->portion(one->marked);
    if (portion) marks.bytes += portion->data_bytes();
    marks.nothing = marks.nothing && portion && portion->empty();
  }
  return marks;
}

Status PrimaryDisks::intact() {
  if (Status known = state(); !known) return known;
  Status asked = note_broken();
  return asked ? state() : asked;
}

Status PrimaryDisks::note_broken() {
  const auto broken = guest_->broken();
  for (std::size_t i = 0; i < disks_.size(); ++i)
    if (!broken || std::ranges::find(*broken, i) != broken->end()) disks_[i]->lost = true;
  return broken ? Status{} : std::unexpected(broken.error());
}

void PrimaryDisks::leave() {
  stop();
  end_reading();
  if (Status ended = guest_->end_records({}); !ended)
    spdlog::warn("ending the record of the guest's disks: {}", ended.error().text());
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    One& one = *disks_[i];
    // The tap first: the writes under way must be answered.
    if (Status left = guest_->leave(i); !left)
      spdlog::warn("leaving disk '{}': {}", one.facts.name, left.error().text());
    if (one.server) one.server->stop();
    one.lost = true;
  }
}

// --- encode thread ---

Result<std::shared_ptr<const DiskBatches>> PrimaryDisks::drain() {
  if (account_->bytes_out() > out_bytes_max) return nullptr;
  Marks marks;
  {
    const std::lock_guard lock{mutex_};
    if (cut_into_epochs_) return nullptr;
    marks = mark_locked();
  }
  auto batches = encode_upto(marks, true);
  if (batches && (*batches)->size() == 0) return nullptr;
  return batches;
}

Result<std::shared_ptr<const DiskBatches>> PrimaryDisks::encode(const Marks& marks) {
  return encode_upto(marks, false);
}

Result<std::shared_ptr<const DiskBatches>> PrimaryDisks::encode_upto(const Marks& marks, bool release) {
  auto batches = std::make_shared<DiskBatches>(account_);
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    One& one = *disks_[i];
    const auto log = log_of(one);
    for (PortionNumber number = one.encoded + 1; number <= marks.portions[i]; ++number) {
      const auto portion = log->portion(number);
      if (!portion) {
        const Status broken = log->state();
        return std::unexpected(broken ? Error{Errc::closed, "the log of a disk's writes was ended", {}}
                                      : broken.error());
      }
      if (Status put = encoder_.encode(static_cast<disk::DiskIndex>(i), *portion, *batches); !put)
        return std::unexpected(put.error());
    }
    // Never back: what is left of an earlier session may still be at work here.
    if (one.encoded < marks.portions[i]) one.encoded = marks.portions[i];
    if (release) log->release(marks.portions[i]);
  }
  return batches;
}

// --- main loop ---

DisksBase PrimaryDisks::base() const {
  DisksBase base;
  for (const auto& one : disks_) {
    const Session replica = map_of(*one)->replica();
    if (replica == 0 || (base.session != 0 && replica != base.session)) return {};
    base.session = replica;
  }
  const std::lock_guard lock{mutex_};
  base.epochs = base_epochs_;
  return base;
}

void PrimaryDisks::release(Epoch upto) {
  std::vector<PortionNumber> portions;
  {
    const std::lock_guard lock{mutex_};
    while (!unreleased_.empty() && unreleased_.front().epoch <= upto) {
      portions = std::move(unreleased_.front().portions);
      unreleased_.pop_front();
    }
  }
  for (std::size_t i = 0; i < portions.size(); ++i) log_of(*disks_[i])->release(portions[i]);
}

void PrimaryDisks::survives(Epoch end) {
  std::vector<PortionNumber> portions;
  {
    const std::lock_guard lock{mutex_};
    base_survives_ = base_survives_ || end > 0;
    survived_end_ = std::max(survived_end_, end);
    // The backup makes nothing durable for an epoch that wrote nothing; it survives with those before it. Otherwise the map
    // would keep what was written before a disk became quiet.
    while (!unsurvived_.empty() &&
           (unsurvived_.front().epoch < end || (base_survives_ && unsurvived_.front().nothing))) {
      portions = std::move(unsurvived_.front().portions);
      unsurvived_.pop_front();
    }
  }
  for (std::size_t i = 0; i < portions.size(); ++i)
    if (Status kept = map_of(*disks_[i])->survives(portions[i]); !kept)
      spdlog::warn("disk '{}': {}", disks_[i]->facts.name, kept.error().text());
}

// --- any thread ---

std::shared_ptr<disk::WriteLog> PrimaryDisks::log_of(const One& one) const {
  const std::lock_guard lock{mutex_};
  return one.log;
}

std::shared_ptr<disk::ResyncMap> PrimaryDisks::map_of(const One& one) const {
  const std::lock_guard lock{mutex_};
  return one.map;
}

void PrimaryDisks::stop() {
  const std::lock_guard lock{mutex_};
  stop_.request_stop();
  for (const auto& one : disks_)
    if (one->log) one->log->close();
}

Status PrimaryDisks::state() const {
  for (const auto& one : disks_) {
    if (one->lost)
      return fail(Errc::closed,
                  fmt::format("the writes to disk '{}' are not followed any more", one->facts.name),
                  "it is synchronized anew");
    if (const auto log = log_of(*one); log)
      if (Status kept = log->state(); !kept)
        return std::unexpected(kept.error().in(fmt::format("disk '{}'", one->facts.name)));
  }
  return {};
}

bool PrimaryDisks::wants_mark() const {
  return std::ranges::any_of(disks_, [this](const auto& one) {
    const auto log = log_of(*one);
    return log && log->wants_mark();
  });
}

std::vector<PrimaryDisks::Report> PrimaryDisks::report() const {
  std::vector<Report> out;
  for (const auto& one : disks_) {
    Report report{.name = one->facts.name, .bytes = one->facts.bytes, .broken = one->lost};
    for (const auto& range : map_of(*one)->dirty()) report.resync_bytes += range.bytes;
    report.compared_bytes = one->compared_bytes;
    report.total_bytes = one->to_compare_bytes;
    if (const auto log = log_of(*one); log) {
      const auto stats = log->stats();
      report.writes = stats.writes;
      report.written_bytes = stats.bytes;
      report.copied_bytes = stats.copied_bytes;
      report.waiting_bytes = stats.waiting_bytes;
      report.broken = report.broken || !log->state();
    }
    out.push_back(std::move(report));
  }
  return out;
}

}  // namespace remus::guard
