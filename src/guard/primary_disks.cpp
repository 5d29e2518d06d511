#include "guard/primary_disks.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "disk/posix_storage.hpp"

namespace remus::guard {

using disk::PortionNumber;
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
      encoder_{settings_.compression, settings_.link_bytes_per_s},
      copy_rate_{settings_.copy_bytes_per_s} {
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
    cuts_.clear();
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
