// PrimaryDisks' part in an epoch: its writes are cut off at the pause, encoded, and forgotten when the backup has them.
#include <spdlog/spdlog.h>

#include <utility>

#include "guard/primary_disks.hpp"

namespace remus::guard {

using disk::PortionNumber;
using engine::Epoch;

// --- capture thread ---

PrimaryDisks::Marks PrimaryDisks::mark(Epoch epoch) {
  const std::lock_guard lock{mutex_};
  cut_into_epochs_ = true;
  Marks marks = mark_locked();
  cuts_.add(epoch, marks.portions, marks.nothing);
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

void PrimaryDisks::release(Epoch upto) {
  EpochCuts::Portions portions;
  {
    const std::lock_guard lock{mutex_};
    portions = cuts_.held(upto);
  }
  for (std::size_t i = 0; i < portions.size(); ++i) log_of(*disks_[i])->release(portions[i]);
}

void PrimaryDisks::survives(Epoch end) {
  EpochCuts::Portions portions;
  {
    const std::lock_guard lock{mutex_};
    portions = cuts_.survive(end);
  }
  for (std::size_t i = 0; i < portions.size(); ++i)
    if (Status kept = map_of(*disks_[i])->survives(portions[i]); !kept)
      spdlog::warn("disk '{}': {}", disks_[i]->facts.name, kept.error().text());
}

}  // namespace remus::guard
