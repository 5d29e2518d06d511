// Puts pages of the guest into a sink: one virtual call for a stretch of space, none for what it holds.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>

#include "checkpoint/sink.hpp"

namespace remus::hypervisor::xen {

[[nodiscard]] inline bool is_zero_page(const std::byte* page) noexcept {
  std::uint64_t first = 0;
  std::memcpy(&first, page, sizeof first);
  // Each word equals the one before it.
  return first == 0 && std::memcmp(page, page + sizeof first, checkpoint::page_bytes - sizeof first) == 0;
}

class PageWriter final {
 public:
  /// Each page's content as it was written, zeros included.
  using Written = std::function<void(checkpoint::PageIndex, std::span<const std::byte>)>;

  explicit PageWriter(checkpoint::CheckpointSink& sink, Written written = {})
      : sink_{sink}, written_{std::move(written)} {}

  /// False when the sink has reached its bound.
  [[nodiscard]] bool write(checkpoint::PageIndex index, const std::byte* page) {
    if (is_zero_page(page)) {
      zero(index);
      return true;
    }
    std::byte* room = begin();
    if (room == nullptr) return false;
    std::memcpy(room, page, checkpoint::page_bytes);
    commit(index, room);
    return true;
  }

  /// For a page that is made in place: a page of space, or nullptr when the sink has reached its bound; then
  /// commit() it.
  [[nodiscard]] std::byte* begin() {
    if (room_.size() < checkpoint::page_bytes) {
      room_ = sink_.space(checkpoint::page_bytes);
      if (room_.size() < checkpoint::page_bytes) return nullptr;
    }
    return room_.data();
  }
  /// So many pages of space in one piece, or nullptr where there are not. Then commit() or commit_zero() each, in order.
  [[nodiscard]] std::byte* stretch(std::size_t pages) {
    if (room_.size() < pages * checkpoint::page_bytes) room_ = sink_.space(checkpoint::page_bytes);
    return room_.size() < pages * checkpoint::page_bytes ? nullptr : room_.data();
  }
  /// Of a stretch, a page that turned out to be zero: its place stays unused.
  void commit_zero(checkpoint::PageIndex index) {
    sink_.advance(checkpoint::page_bytes);
    room_ = room_.subspan(checkpoint::page_bytes);
    zero(index);
  }
  void commit(checkpoint::PageIndex index, const std::byte* room) {
    sink_.advance(checkpoint::page_bytes);
    room_ = room_.subspan(checkpoint::page_bytes);
    sink_.page(index, room);
    if (written_) written_(index, {room, checkpoint::page_bytes});
    ++pages_;
  }

  [[nodiscard]] std::uint64_t pages() const noexcept { return pages_; }
  [[nodiscard]] std::uint64_t zero_pages() const noexcept { return zero_pages_; }

 private:
  void zero(checkpoint::PageIndex index) {
    static constexpr std::array<std::byte, checkpoint::page_bytes> zeros{};
    sink_.zero_page(index);
    if (written_) written_(index, zeros);
    ++zero_pages_;
  }

  checkpoint::CheckpointSink& sink_;
  Written written_;
  std::span<std::byte> room_{};
  std::uint64_t pages_{};
  std::uint64_t zero_pages_{};
};

}  // namespace remus::hypervisor::xen
