#include "output/frame_ring.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/assert.hpp"

namespace remus::output {

Result<FrameRing> FrameRing::create(std::size_t capacity_bytes) {
  const std::size_t capacity = std::bit_ceil(std::max<std::size_t>(capacity_bytes, 1UL << 20));
  void* memory =
      ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return fail(Errc::exhausted, fmt::format("no memory for an output buffer of {} bytes", capacity));
  return FrameRing{static_cast<std::byte*>(memory), capacity};
}

FrameRing::FrameRing(FrameRing&& other) noexcept {
  *this = std::move(other);
}

FrameRing& FrameRing::operator=(FrameRing&& other) noexcept {
  if (this == &other) return *this;
  if (memory_ != nullptr) ::munmap(memory_, capacity_);
  memory_ = std::exchange(other.memory_, nullptr);
  capacity_ = std::exchange(other.capacity_, 0);
  head_ = other.head_;
  released_ = other.released_;
  marked_ = other.marked_;
  whole_ = other.whole_;
  tail_ = other.tail_;
  marks_ = std::move(other.marks_);
  std::copy_n(other.header_, header_bytes, header_);
  header_got_ = other.header_got_;
  packet_left_ = other.packet_left_;
  packet_bytes_ = other.packet_bytes_;
  dropping_ = other.dropping_;
  taken_ = other.taken_;
  gone_ = other.gone_;
  freed_ = other.freed_;
  dropped_ = other.dropped_;
  return *this;
}

FrameRing::~FrameRing() {
  if (memory_ != nullptr) ::munmap(memory_, capacity_);
}

Status FrameRing::take(std::span<const std::byte> bytes, std::size_t budget_bytes) {
  const std::uint64_t used_before = tail_ - head_;
  while (!bytes.empty()) {
    if (header_got_ < header_bytes) {
      const std::size_t part = std::min(bytes.size(), header_bytes - header_got_);
      std::copy_n(bytes.begin(), part, header_ + header_got_);
      header_got_ += part;
      bytes = bytes.subspan(part);
      if (header_got_ < header_bytes) break;
      packet_bytes_ = 0;
      for (const std::byte byte : header_)
        packet_bytes_ = packet_bytes_ << 8U | std::to_integer<std::size_t>(byte);
      if (packet_bytes_ == 0 || packet_bytes_ > packet_bytes_max)
        return fail(Errc::corrupt,
                    fmt::format("a packet of {} bytes came from QEMU: its framing is lost", packet_bytes_));
      packet_left_ = packet_bytes_;
      const std::size_t frame = header_bytes + packet_bytes_;
      const std::uint64_t growth = tail_ - head_ - used_before;
      dropping_ = growth + frame > budget_bytes || used_bytes() + frame > capacity_;
      if (!dropping_) put(header_);
    }
    const std::size_t part = std::min(bytes.size(), packet_left_);
    if (!dropping_) put(bytes.first(part));
    bytes = bytes.subspan(part);
    packet_left_ -= part;
    if (packet_left_ == 0) finish_frame();
  }
  return {};
}

void FrameRing::finish_frame() noexcept {
  header_got_ = 0;
  FrameCount& count = dropping_ ? dropped_ : taken_;
  ++count.packets;
  count.bytes += packet_bytes_;
  if (!dropping_) whole_ = tail_;
}

void FrameRing::put(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return;
  const std::size_t begin = at(tail_);
  const std::size_t first = std::min(bytes.size(), capacity_ - begin);
  std::memcpy(memory_ + begin, bytes.data(), first);
  if (first < bytes.size()) std::memcpy(memory_, bytes.data() + first, bytes.size() - first);
  tail_ += bytes.size();
}

void FrameRing::mark(Epoch epoch) {
  REMUS_ASSERT("pre", marks_.empty() || marks_.back().epoch < epoch,
               "output marks are taken in the order of epochs");
  marks_.push_back({epoch, whole_, taken_});
  marked_ = whole_;
}

void FrameRing::release(Epoch upto) {
  while (!marks_.empty() && marks_.front().epoch <= upto) {
    release_to(marks_.front().end, marks_.front().taken);
    marks_.pop_front();
  }
}

void FrameRing::release_all() {
  release_to(whole_, taken_);
  marks_.clear();
  marked_ = whole_;
}

void FrameRing::release_to(std::uint64_t end, FrameCount taken) noexcept {
  if (end <= released_) return;
  released_ = end;
  freed_ = {taken.packets - gone_.packets, taken.bytes - gone_.bytes};
}

FrameCount FrameRing::discard() {
  const FrameCount lost = held();
  gone_.packets += lost.packets;
  gone_.bytes += lost.bytes;
  dropped_.packets += lost.packets;
  dropped_.bytes += lost.bytes;
  // A frame under way is kept: its head moves down to where the discarded ones began.
  const std::size_t part = static_cast<std::size_t>(tail_ - whole_);
  for (std::size_t i = 0; i < part; ++i) memory_[at(released_ + i)] = memory_[at(whole_ + i)];
  whole_ = released_;
  marked_ = released_;
  tail_ = released_ + part;
  marks_.clear();
  return lost;
}

std::span<const std::byte> FrameRing::sendable() const noexcept {
  const std::size_t begin = at(head_);
  const std::size_t bytes = std::min(static_cast<std::size_t>(released_ - head_), capacity_ - begin);
  return {memory_ + begin, bytes};
}

void FrameRing::sent(std::size_t bytes) noexcept {
  head_ += bytes;
  if (head_ != tail_ || packet_left_ != 0) return;
  // Empty: begin at the front again, so that only as much memory is touched as was ever needed. A mark that
  // ends here stays valid: it is at or before the new head, so releasing it releases nothing.
  if (header_got_ != 0 || !marks_.empty()) return;
  const std::uint64_t aligned = (head_ + capacity_ - 1) & ~std::uint64_t{capacity_ - 1};
  head_ = released_ = marked_ = whole_ = tail_ = aligned;
}

}  // namespace remus::output
