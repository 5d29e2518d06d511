// PrimaryDisks' part in having the hypervisor record what is written, so that the death of a guard costs no look at all of
// the disks.
//
//   epoch      … │ k-1 │  k  │ k+1 │ …                 a record begun before k was marked has all writes since then,
//   record k   ······[━━━━━━━━━━━━━━━━━━━━━            so it is enough for replicas that hold epoch k
//   record m   ·······················[━━━━━━          m survives: k is ended
//
// The names say session and epoch; nothing else is kept of them, so there is nothing that could be lost with us. The backup
// says whether its replicas hold what the record lacks.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <charconv>

#include "base/fault.hpp"
#include "guard/primary_disks.hpp"

namespace remus::guard {

using engine::Epoch;
using engine::Session;

std::string PrimaryDisks::Record::name() const {
  return fmt::format("{:016x}-{}", session, epoch);
}

std::optional<PrimaryDisks::Record> PrimaryDisks::Record::named(const std::string& name) {
  Record record;
  const char* end = name.data() + name.size();
  const auto session = std::from_chars(name.data(), end, record.session, 16);
  if (session.ec != std::errc{} || session.ptr == end || *session.ptr != '-') return std::nullopt;
  const auto epoch = std::from_chars(session.ptr + 1, end, record.epoch, 10);
  if (epoch.ec != std::errc{} || epoch.ptr != end || record.session == 0) return std::nullopt;
  return record;
}

std::optional<PrimaryDisks::Record> PrimaryDisks::find_record() {
  const auto names = guest_->records();
  if (!names) {
    spdlog::warn("what was written meanwhile is not known: {}", names.error().text());
    return std::nullopt;
  }
  std::optional<Record> oldest;
  for (const auto& name : *names) {
    const auto record = Record::named(name);
    // Of two sessions nobody knows here which one the replicas are of.
    if (!record || (oldest && oldest->session != record->session)) return std::nullopt;
    if (!oldest || record->epoch < oldest->epoch) oldest = record;
  }
  return oldest;
}

/// Their writes are followed already, so whatever is not in the record comes in by the log. Until all of it is taken the maps are
/// about no replica, and then all is looked at.
void PrimaryDisks::take_record(const Record& record, const std::vector<std::size_t>& disks) {
  const auto one = [&](std::size_t i) -> Status {
    const auto ranges = guest_->take_record(i, record.name());
    if (!ranges) return std::unexpected(ranges.error());
    REMUS_FAULT_POINT("disk.record_taken");
    for (const auto& range : *ranges)
      if (Status noted = map_of(*disks_[i])->changed(range.offset, range.bytes); !noted) return noted;
    return {};
  };
  Status taken{};
  for (std::size_t i = 0; i < disks.size() && taken; ++i) taken = one(disks[i]);
  for (std::size_t i = 0; i < disks.size() && taken; ++i)
    taken = map_of(*disks_[disks[i]])->stands_for(record.session, true);
  if (!taken) {
    spdlog::warn("what was written meanwhile is not known: {}", taken.error().text());
    return;
  }
  const std::lock_guard lock{mutex_};
  base_epochs_ = record.epoch + 1;
}

void PrimaryDisks::keep_record(Epoch marked) {
  Epoch survived_end = 0;
  {
    const std::lock_guard lock{mutex_};
    survived_end = cuts_.survived_end();
  }
  if (recorded_session_ != session_) {
    recorded_session_ = session_;
    records_.clear();
    recorded_.reset();
  }
  const auto now = std::chrono::steady_clock::now();
  Status kept{};
  if (records_.size() == 2 && records_.back().epoch < survived_end) {
    records_.erase(records_.begin());
    kept = guest_->end_records({records_.back().name()});
  } else if (records_.size() < 2 && (!recorded_ || now - *recorded_ >= settings_.record_interval)) {
    const Record record{session_, marked + 1};
    recorded_ = now;
    kept = guest_->begin_record(record.name());
    if (kept) records_.push_back(record);
    // Those of earlier sessions.
    if (kept && records_.size() == 1) kept = guest_->end_records({record.name()});
  }
  if (!kept) spdlog::warn("recording what is written to the guest's disks: {}", kept.error().text());
}

}  // namespace remus::guard
