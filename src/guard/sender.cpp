#include "guard/sender.hpp"

#include <algorithm>
#include <utility>

#include "base/fault.hpp"

namespace remus::guard {
namespace {

constexpr std::size_t device_chunk_bytes = 256UL << 10;

std::size_t device_parts(const checkpoint::EncodedEpoch& data) {
  return (data.device_state().size() + device_chunk_bytes - 1) / device_chunk_bytes;
}

template <typename Owner>
link::Payload part_of(const std::shared_ptr<const Owner>& owner, std::span<const std::byte> bytes) {
  return link::Payload{owner, bytes};
}

std::size_t disk_parts(const Outbound& item) {
  return item.disks ? item.disks->size() : 0;
}

}  // namespace

void Sender::attach(link::Connection* connection) {
  connection_ = connection;
  next_ = items_.size();
  part_ = 0;
}

void Sender::push(Outbound item) {
  items_.push_back(std::move(item));
  pump();
}

void Sender::resend(engine::Epoch after) {
  std::erase_if(items_, [](const Outbound& item) { return item.kind != Outbound::Kind::epoch; });
  next_ = static_cast<std::size_t>(
      std::ranges::find_if(items_, [&](const Outbound& item) { return item.epoch > after; }) -
      items_.begin());
  part_ = 0;
  pump();
}

void Sender::forget(engine::Epoch upto) {
  // An epoch can be acknowledged only after all of it was sent, so what is forgotten lies before next_.
  while (!items_.empty() && next_ > 0 && items_.front().kind == Outbound::Kind::epoch &&
         items_.front().epoch <= upto) {
    items_.pop_front();
    --next_;
  }
}

void Sender::clear() {
  items_.clear();
  next_ = 0;
  part_ = 0;
  sync_batch_ = 0;
  disk_sync_batch_ = 0;
}

std::size_t Sender::kept_bytes() const noexcept {
  std::size_t bytes = 0;
  for (const auto& item : items_)
    bytes += (item.data ? item.data->total_bytes() : 0) + (item.disks ? item.disks->bytes() : 0);
  return bytes;
}

std::size_t Sender::parts(const Outbound& item) const noexcept {
  switch (item.kind) {
    case Outbound::Kind::sync: return (item.data ? item.data->batches() : 0) + disk_parts(item);
    case Outbound::Kind::epoch: return 2 + item.data->batches() + disk_parts(item) + device_parts(*item.data);
    case Outbound::Kind::messages: return item.messages.size();
  }
  return 0;
}

void Sender::pump() {
  while (connection_ != nullptr && next_ < items_.size()) {
    const Outbound& item = items_[next_];
    while (part_ < parts(item)) {
      if (!connection_->writable() || !send_part(item)) return;
      ++part_;
    }
    part_ = 0;
    if (item.kind == Outbound::Kind::epoch) {
      ++next_;
    } else {
      items_.erase(items_.begin() + static_cast<std::ptrdiff_t>(next_));
    }
  }
}

bool Sender::send_part(const Outbound& item) {
  switch (item.kind) {
    case Outbound::Kind::messages: return send(item.messages[part_]);
    case Outbound::Kind::sync: return send_sync(item);
    case Outbound::Kind::epoch: return send_epoch(item);
  }
  return false;
}

bool Sender::send_sync(const Outbound& item) {
  const std::size_t pages = item.data ? item.data->batches() : 0;
  if (part_ >= pages) {
    if (!send(link::DiskSync{item.session, disk_sync_batch_,
                             part_of(item.disks, item.disks->batch(part_ - pages))}))
      return false;
    ++disk_sync_batch_;
    REMUS_FAULT_POINT("send.disk_sync");
    return true;
  }
  if (!send(link::SyncPages{item.session, sync_batch_, part_of(item.data, item.data->batch(part_))}))
    return false;
  ++sync_batch_;
  REMUS_FAULT_POINT("send.sync_pages");
  return true;
}

/// Beginning, pages, disk writes, device state, end.
bool Sender::send_epoch(const Outbound& item) {
  const auto& data = *item.data;
  if (part_ == 0) {
    REMUS_FAULT_POINT("send.epoch_begin");
    return send(link::EpochBegin{item.session, item.epoch, item.captured_pages, data.device_state().size()});
  }
  std::size_t i = part_ - 1;
  if (i < data.batches()) {
    REMUS_FAULT_POINT("send.epoch_pages");
    return send(
        link::EpochPages{item.epoch, static_cast<std::uint32_t>(i), part_of(item.data, data.batch(i))});
  }
  i -= data.batches();
  if (i < disk_parts(item)) {
    REMUS_FAULT_POINT("send.disk_writes");
    return send(link::DiskWrites{item.epoch, static_cast<std::uint32_t>(i),
                                 part_of(item.disks, item.disks->batch(i))});
  }
  i -= disk_parts(item);
  if (i < device_parts(data)) {
    const std::size_t offset = i * device_chunk_bytes;
    const std::span<const std::byte> state{data.device_state()};
    REMUS_FAULT_POINT("send.epoch_device");
    return send(link::EpochDevice{
        item.epoch, offset,
        part_of(item.data, state.subspan(offset, std::min(device_chunk_bytes, state.size() - offset)))});
  }
  return send_end(item);
}

bool Sender::send_end(const Outbound& item) {
  const auto& data = *item.data;
  const auto& digest = data.digest();
  link::EpochEnd end{.session = item.session,
                     .epoch = item.epoch,
                     .batches = static_cast<std::uint32_t>(data.batches()),
                     .pages = digest.pages,
                     .batch_bytes = data.batch_bytes(),
                     .device_bytes = data.device_state().size()};
  end.disk_batches = static_cast<std::uint32_t>(disk_parts(item));
  end.disk_bytes = item.disks ? item.disks->bytes() : 0;
  std::ranges::copy(std::as_bytes(std::span{&digest.image_hash, 1}), end.image_hash.begin());
  REMUS_FAULT_POINT("send.epoch_end");
  const bool sent = send(end);
  if (sent) {
    REMUS_FAULT_POINT("send.epoch_sent");
  }
  return sent;
}

bool Sender::send(const link::Message& message) {
  if (!connection_->send(message)) return false;
  std::visit(
      [this]<typename M>(const M& m) {
        if constexpr (requires { m.data.size(); }) sent_payload_bytes_ += m.data.size();
      },
      message);
  return true;
}

}  // namespace remus::guard
