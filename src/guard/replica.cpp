#include "guard/replica.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>
#include <utility>

#include "base/fault.hpp"
#include "checkpoint/hash_range.hpp"

namespace remus::guard {

using engine::Epoch;
using engine::Session;

Replica::Replica(boost::asio::io_context& io, std::unique_ptr<hypervisor::Standby> standby, BackupDisks disks,
                 Events events)
    : io_{io},
      events_{std::move(events)},
      disks_{std::move(disks)},
      standby_{std::move(standby)},
      apply_{std::make_unique<Worker>("remus-apply")},
      check_{std::make_unique<Worker>("remus-check")} {}

Replica::~Replica() {
  session_ = 0;
  check_.reset();
  apply_.reset();
}

void Replica::post(std::function<void()> event) {
  boost::asio::post(io_, std::move(event));
}

void Replica::malformed(Session session, std::string what) {
  post([this, session, error = Error{Errc::corrupt, std::move(what), {}}] {
    if (current(session)) events_.malformed(session, error);
  });
}

// --- credit: how much the primary may send ahead ---

void Replica::credit(std::size_t bytes) {
  owed_bytes_ += bytes;
  settle_credit();
}

void Replica::settle_credit() {
  // Withheld only while something whole is there to be applied: an epoch alone must always be able to become whole.
  if (owed_bytes_ == 0 || (held_bytes_ > hold_bytes_soft_max && !whole_.empty())) return;
  events_.consumed(std::exchange(owed_bytes_, 0));
}

// --- sessions ---

void Replica::begin(Session session) {
  session_ = session;
  assembling_.reset();
  whole_.clear();
  first_whole_ = false;
  deferred_.clear();
  verification_.reset();
  awaiting_disks_.reset();
  last_received_.reset();
  apply_asked_.reset();
  held_bytes_ = 0;
  owed_bytes_ = 0;
  check_->post([this] { device_decoder_.reset(); });
  apply_->post([this] {
    device_state_.clear();
    applied_.reset();
    disk_hashes_.clear();
    disk_result_ = {};
  });
}

void Replica::build(hypervisor::GuestDescription guest) {
  apply_->post([this, guest = std::move(guest)] {
    post([this, done = standby_->build(guest)] { events_.built(done); });
  });
}

void Replica::prepare(Session session, hypervisor::GuestDescription guest, checkpoint::Layout layout,
                      bool wants_hashes, DisksBase disks_base) {
  // Through the check thread: what it still does with disk writes of an earlier session comes first.
  check_->post(
      [this, session, guest = std::move(guest), layout = std::move(layout), wants_hashes, disks_base] {
        apply_->post([this, session, guest, layout, wants_hashes, disks_base] {
          prepare_on_thread(session, guest, layout, wants_hashes, disks_base);
        });
      });
}

void Replica::prepare_on_thread(Session session, const hypervisor::GuestDescription& guest,
                                const checkpoint::Layout& layout, bool wants_hashes, DisksBase disks_base) {
  if (!current(session)) return;
  REMUS_FAULT_POINT("standby.prepare");
  const bool had_image = image_.has_value();
  Status ready = prepare_now(guest, layout);
  if (ready) ready = begin_disks(session, disks_base);
  if (!ready) {
    post([this, session, error = ready.error()] {
      if (current(session)) events_.prepare_failed(session, error);
    });
    return;
  }
  sync_failed_ = false;
  const bool kept = had_image && wants_hashes;
  // Taken from memory itself: a waiting QEMU may have put its own firmware into what is otherwise zero.
  image_->reseed(session);
  image_->recompute();
  check_->post([this, layout] { check_decoder_ = std::make_unique<checkpoint::BatchDecoder>(layout); });
  post([this, session, kept, base = disks_base.session] {
    if (current(session)) events_.prepared(session, kept, base);
  });
  if (kept) offer_hashes(session);
}

Status Replica::prepare_now(const hypervisor::GuestDescription& guest, const checkpoint::Layout& layout) {
  if (image_ && layout_ == layout && standby_->healthy()) return {};
  image_.reset();
  auto memory = standby_->prepare(guest, layout);
  if (!memory) return std::unexpected(memory.error());
  auto image = checkpoint::Image::create(layout, std::move(memory->blocks));
  if (!image) return std::unexpected(image.error());
  image_ = std::move(*image);
  layout_ = layout;
  apply_decoder_ = std::make_unique<checkpoint::BatchDecoder>(layout);
  return {};
}

void Replica::offer_hashes(Session session) {
  const auto& table = image_->table();
  for (checkpoint::PageIndex first = 0; first < table.pages();) {
    std::vector<std::byte> range;
    const auto next = checkpoint::encode_hash_range(table, first, range);
    link::HashOffer offer{
        .session = session,
        .first_page = first,
        .page_count = next - first,
        .last = next == table.pages(),
        .hashes = link::Payload::own(std::move(range)).from(checkpoint::hash_range_header_bytes)};
    post([this, session, offer = std::move(offer)] {
      if (current(session)) events_.offer(offer);
    });
    first = next;
  }
}

// --- receiving ---

void Replica::receive(link::SyncPages message, std::size_t bulk_bytes) {
  const Session session = session_;
  if (message.session != session) return credit(bulk_bytes);
  apply_->post([this, session, bulk_bytes, message = std::move(message)] {
    if (current(session) && !sync_failed_) {
      REMUS_FAULT_POINT("sync.apply");
      Result<checkpoint::BatchSummary> done =
          fail(Errc::corrupt, "pages came before the standby was prepared");
      if (image_) done = apply_decoder_->apply(message.data.bytes(), *image_);
      if (!done) {
        sync_failed_ = true;
        malformed(session, done.error().what);
      }
    }
    post([this, bulk_bytes] { credit(bulk_bytes); });
  });
}

void Replica::receive(const link::EpochBegin& message, std::size_t bulk_bytes) {
  credit(bulk_bytes);
  if (!current(message.session)) return;
  REMUS_FAULT_POINT("recv.epoch_begin");
  assembling_ = std::make_shared<HeldEpoch>();
  assembling_->epoch = message.epoch;
}

void Replica::receive(link::EpochPages message, std::size_t bulk_bytes) {
  if (!assembling_ || assembling_->epoch != message.epoch || message.batch != assembling_->batches.size()) {
    credit(bulk_bytes);
    return malformed(
        session_, fmt::format("pages of epoch {}, batch {}, are out of place", message.epoch, message.batch));
  }
  REMUS_FAULT_POINT("recv.epoch_pages");
  assembling_->bulk_bytes += bulk_bytes;
  held_bytes_ += bulk_bytes;
  assembling_->batches.push_back(message.data);
  credit(bulk_bytes);
  check_batch(assembling_, std::move(message.data));
}

void Replica::receive(const link::EpochDevice& message, std::size_t bulk_bytes) {
  credit(bulk_bytes);
  if (!assembling_ || assembling_->epoch != message.epoch ||
      message.offset_bytes != assembling_->device_packed.size() ||
      assembling_->device_packed.size() + message.data.size() > checkpoint::device_packed_bytes_max)
    return malformed(session_, fmt::format("device state of epoch {} is out of place", message.epoch));
  const auto bytes = message.data.bytes();
  assembling_->device_packed.insert(assembling_->device_packed.end(), bytes.begin(), bytes.end());
}

void Replica::receive(const link::EpochEnd& message, std::size_t bulk_bytes) {
  credit(bulk_bytes);
  if (!current(message.session)) return;
  const auto held = std::exchange(assembling_, nullptr);
  std::size_t batch_bytes = 0;
  if (held)
    for (const auto& batch : held->batches) batch_bytes += batch.size();
  if (!held || held->epoch != message.epoch || held->batches.size() != message.batches ||
      batch_bytes != message.batch_bytes || held->device_packed.size() != message.device_bytes ||
      held->disk_batches != message.disk_batches || held->disk_bytes != message.disk_bytes) {
    if (held) held_bytes_ -= held->bulk_bytes;
    return malformed(message.session,
                     fmt::format("epoch {} does not add up to what its end says", message.epoch));
  }
  held->image_hash = checkpoint::hash_at(message.image_hash);
  last_received_ = message.epoch;
  REMUS_FAULT_POINT("recv.epoch_end");
  check_end(message.session, held);
}

void Replica::check_batch(std::shared_ptr<HeldEpoch> held, link::Payload batch) {
  check_->post([this, held = std::move(held), batch = std::move(batch)] {
    if (held->fault) return;
    if (!check_decoder_) {
      held->fault = Error{Errc::corrupt, "pages came before the standby was prepared", {}};
      return;
    }
    if (const auto sound = check_decoder_->validate(batch.bytes()); !sound) held->fault = sound.error();
  });
}

void Replica::check_end(Session session, std::shared_ptr<HeldEpoch> held) {
  check_->post([this, session, held = std::move(held)]() mutable {
    if (!current(session)) return;
    if (!held->fault) {
      const auto state = device_decoder_.decode(held->device_packed);
      if (state)
        held->device_state.assign(state->begin(), state->end());
      else
        held->fault = state.error();
    }
    if (!held->fault)
      if (const Status kept = commit_disks(*held); !kept) held->fault = kept.error();
    if (held->fault) return malformed(session, fmt::format("epoch {}: {}", held->epoch, held->fault->what));
    held->device_packed = {};
    const auto tell = [this, session, held] { post([this, session, held] { became_whole(session, held); }); };
    if (held->epoch != 0) return tell();
    // Epoch 0 is whole when every page of the synchronization is in the image, and the image is right.
    apply_->post([this, session, held, tell] {
      if (!current(session) || sync_failed_) return;
      if (!image_ || image_->hash() != held->image_hash)
        return malformed(session, "after the synchronization the image is not the primary's");
      tell();
    });
  });
}

void Replica::became_whole(Session session, const std::shared_ptr<HeldEpoch>& held) {
  if (!current(session)) return;
  whole_.emplace(held->epoch, held);
  if (held->epoch == 0) first_whole_ = true;
  // Epoch 0 waits for the apply thread: those after it may have been checked before.
  if (!first_whole_) return;
  std::vector<Epoch> told{held->epoch};
  if (held->epoch == 0) {
    told.clear();
    for (const auto& [epoch, _] : whole_) told.push_back(epoch);
  }
  for (const Epoch epoch : told) {
    if (!current(session)) return;
    REMUS_FAULT_POINT("ack.before");
    events_.whole(session, epoch);
  }
}

void Replica::discard_torn() {
  if (disks_.replicas)
    check_->post([this, session = session_.load()] {
      if (current(session)) disks_.replicas->drop_torn();
    });
  if (assembling_) held_bytes_ -= assembling_->bulk_bytes;
  assembling_.reset();
  settle_credit();
}

// --- applying ---

void Replica::apply(Session session, Epoch epoch) {
  const auto found = whole_.find(epoch);
  if (!current(session) || found == whole_.end()) return;
  if (verification_ && epoch > verification_->begin.epoch) {
    deferred_.emplace_back(session, found->second);
    return;
  }
  apply_now(session, found->second);
  if (verification_ && epoch == verification_->begin.epoch) {
    verification_->applied = true;
    compare_if_ready();
  }
}

void Replica::apply_now(Session session, const std::shared_ptr<HeldEpoch>& held) {
  apply_asked_ = held->epoch;
  apply_->post([this, session, held] {
    if (!current(session)) return;
    REMUS_FAULT_POINT("apply.begin");
    for (const auto& batch : held->batches) {
      if (const auto done = apply_decoder_->apply(batch.bytes(), *image_); !done) {
        post([this, session, error = done.error()] { events_.apply_failed(session, error); });
        return;
      }
      REMUS_FAULT_POINT("apply.mid");
    }
    if (image_->hash() != held->image_hash) {
      post([this, session, epoch = held->epoch] {
        events_.apply_failed(
            session,
            Error{Errc::corrupt, fmt::format("after epoch {} the image is not the primary's", epoch), {}});
      });
      return;
    }
    if (const Status applied = apply_disks(held->epoch); !applied) {
      post([this, session, error = applied.error()] { events_.apply_failed(session, error); });
      return;
    }
    device_state_ = held->device_state;
    applied_ = held->epoch;
    compare_disks(session);
    REMUS_FAULT_POINT("apply.done");
    post([this, session, held] {
      if (!current(session)) return;
      whole_.erase(held->epoch);
      held_bytes_ -= held->bulk_bytes;
      settle_credit();
      events_.applied(session, held->epoch);
    });
    settle_disks(session);
  });
}

void Replica::activate(Epoch epoch) {
  session_ = 0;
  assembling_.reset();
  // Through the check thread: what it still does with disk writes comes first.
  check_->post([this, epoch] { apply_->post([this, epoch] { activate_on_thread(epoch); }); });
}

void Replica::activate_on_thread(Epoch epoch) {
  REMUS_FAULT_POINT("activate.begin");
  Result<hypervisor::ActivationReport> report{};
  if (const Status ready = activate_disks(epoch); !ready)
    report = std::unexpected(ready.error());
  else
    report = standby_->activate(device_state_);
  REMUS_FAULT_POINT("activate.done");
  post([this, report] {
    if (report)
      events_.activated(*report);
    else
      events_.activation_failed(report.error());
  });
}

void Replica::discard() {
  begin(0);
  apply_->post([this] {
    image_.reset();
    if (const Status gone = standby_->discard(); !gone)
      spdlog::error("discarding the standby: {}", gone.error().text());
    post([this] { events_.discarded(); });
  });
}

void Replica::check_health() {
  if (apply_->depth() > 0) return;
  apply_->post([this] {
    if (!image_ || standby_->healthy()) return;
    image_.reset();
    post([this] { events_.standby_lost(Error{Errc::closed, "the standby's process is gone", {}}); });
  });
}

}  // namespace remus::guard
