// Pipeline's part in replicating the guest's disks: copying them, and encoding what was written.
#include <chrono>
#include <utility>

#include "guard/pipeline.hpp"

namespace remus::guard {

using engine::Session;

namespace {
constexpr std::chrono::milliseconds watch_interval{10};
constexpr std::chrono::milliseconds progress_interval{100};
}  // namespace

bool Pipeline::copy_disks(Session session) {
  if (!disks_) return true;
  draining_ = session;
  const std::uint64_t memory_bytes = domain_.description().memory_bytes;
  std::chrono::steady_clock::time_point told{};
  PrimaryDisks::Progress last{};
  const auto ask = [this, session](const link::DiskHashesWanted& wanted) {
    post([this, session, wanted] {
      if (current(session)) events_.hashes_wanted(wanted);
    });
  };
  const Status copied = disks_->copy(disks_base_, ask, [&, session](PrimaryDisks::Progress done) {
    last = done;
    compared_bytes_ = done.done_bytes;
    const auto now = std::chrono::steady_clock::now();
    if (now - told < progress_interval) return;
    told = now;
    post([this, session, done, memory_bytes] {
      if (current(session))
        events_.progress(session,
                         {.done_bytes = done.done_bytes, .total_bytes = done.total_bytes + memory_bytes});
    });
  });
  if (copied) {
    post([this, session, last] {
      if (current(session)) events_.disks_copied(session, last);
    });
    return true;
  }
  refused_ = copied.error();
  return false;
}

void Pipeline::disk_hashes(link::DiskHashes answer) {
  if (disks_) disks_->answered(std::move(answer));
}

void Pipeline::release(engine::Epoch upto) {
  if (disks_) disks_->release(upto);
}

void Pipeline::survives(engine::Epoch end) {
  if (disks_) disks_->survives(end);
}

void Pipeline::watch_disks(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::this_thread::sleep_for(watch_interval);
    if (const Session session = draining_; session != 0) {
      if (!drain_waits_.exchange(true)) encode_->post([this] { drain_disks(); });
    } else if (disks_->wants_mark()) {
      post([this] { events_.disks_press(); });
    }
  }
}

void Pipeline::drain_disks() {
  drain_waits_ = false;
  const Session session = draining_;
  if (session == 0 || !current(session)) return;
  auto batches = disks_->drain();
  if (!batches) {
    post([this, session, error = batches.error()] { events_.encode_failed(session, error); });
    return;
  }
  if (*batches != nullptr)
    post([this, session, batches = std::move(*batches)]() mutable {
      if (current(session))
        events_.encoded({.kind = Outbound::Kind::sync, .session = session, .disks = std::move(batches)});
    });
}

void Pipeline::send_disk_hashes(Session session, engine::Epoch epoch, const PrimaryDisks::Marks& marks) {
  if (!verifier_ || !current(session)) return;
  Outbound item{.kind = Outbound::Kind::messages, .session = session, .epoch = epoch};
  item.messages = verifier_->take(marks.portions);
  verified_disk_bytes_ = verifier_->told_bytes();
  if (verifier_->finished()) {
    left_out_bytes_ = verifier_->left_out_bytes();
    verifier_.reset();
    // By the main loop: this thread outlives the capture thread.
    post([this] { capture_->post([this] { disks_->end_reading(); }); });
  }
  if (!item.messages.empty()) finish_encoding(session, std::move(item));
}

bool Pipeline::encode_disks(Session session, const PrimaryDisks::Marks& marks, Outbound& item) {
  if (!disks_) return true;
  auto batches = disks_->encode(marks);
  if (!batches) {
    post([this, session, error = batches.error()] { events_.encode_failed(session, error); });
    return false;
  }
  item.disks = std::move(*batches);
  return true;
}

}  // namespace remus::guard
