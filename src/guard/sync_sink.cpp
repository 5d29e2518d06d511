#include "guard/sync_sink.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace remus::guard {

using checkpoint::page_bytes;

Result<std::shared_ptr<SyncSink>> SyncSink::create(std::uint64_t guest_bytes, Hooks hooks) {
  // Address space, not memory. A 32-bit process has little of it, and makes do with fewer rounds.
  constexpr std::uint64_t most = std::numeric_limits<std::size_t>::max() / 2;
  auto memory = checkpoint::Reservation::create(std::min(rounds_max * guest_bytes + (256UL << 20), most),
                                                "the synchronization");
  if (!memory) return std::unexpected(memory.error());
  return std::shared_ptr<SyncSink>{new SyncSink{std::move(*memory), std::move(hooks)}};
}

void SyncSink::layout(const checkpoint::Layout& layout) {
  layout_ = layout;
  if (!hooks_.layout(layout)) give_up();
}

void SyncSink::paused() {
  paused_ = true;
  hooks_.paused();
}

std::span<std::byte> SyncSink::space(std::size_t at_least) {
  {
    std::unique_lock lock{mutex_};
    if (!paused_) room_.wait(lock, [this] { return given_up_ || segments_out_ < segments_out_max; });
    if (given_up_) return {};
  }
  if (memory_.size() - used_ < at_least) {
    too_slow_ = true;
    return {};
  }
  return {memory_.data() + used_, std::min(memory_.size() - used_, std::max(at_least, segment_bytes))};
}

void SyncSink::page(checkpoint::PageIndex index, const std::byte* data) {
  filling_.records.push_back({.data = data, .index = index});
  filling_.end_offset = static_cast<std::size_t>(data - memory_.data()) + page_bytes;
  filling_bytes_ += page_bytes;
  if (filling_bytes_ >= segment_bytes) cut();
}

void SyncSink::zero_page(checkpoint::PageIndex index) {
  filling_.records.push_back({.data = nullptr, .index = index});
  if (filling_.records.size() >= segment_pages_max) cut();
}

void SyncSink::cut() {
  if (filling_.records.empty()) return;
  {
    const std::lock_guard lock{mutex_};
    ++segments_out_;
  }
  hooks_.segment(std::exchange(filling_, Segment{}));
  filling_.records.reserve(segment_pages_max);
  filling_bytes_ = 0;
}

void SyncSink::give_up() {
  {
    const std::lock_guard lock{mutex_};
    given_up_ = true;
  }
  room_.notify_all();
}

void SyncSink::release(std::size_t end_offset) noexcept {
  if (end_offset <= released_) return;
  memory_.release(released_, end_offset);
  released_ = end_offset - end_offset % page_bytes;
}

void SyncSink::done() {
  {
    const std::lock_guard lock{mutex_};
    --segments_out_;
  }
  room_.notify_all();
}

}  // namespace remus::guard
