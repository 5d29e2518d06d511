// A sink that keeps nothing: for measuring a capture alone, and for captures whose content nobody wants.
#pragma once

#include <functional>
#include <vector>

#include "checkpoint/sink.hpp"

namespace remus::checkpoint {

class BlackholeSink final : public CheckpointSink {
 public:
  void layout(const Layout& layout) override { pages_total_ = layout.pages(); }
  void paused() override {
    if (on_paused_) on_paused_();
  }
  /// Memory from a ring: the last ring_bytes / 2 advanced over stay as they are, older bytes are overwritten.
  [[nodiscard]] std::span<std::byte> space(std::size_t at_least) override {
    if (rings_.empty() || rings_.back().size() < 2 * at_least) {
      rings_.emplace_back(at_least < ring_bytes / 2 ? ring_bytes
                                                    : 2 * at_least);  // older rings stay: pointers do too
      used_ = 0;
    }
    auto& ring = rings_.back();
    if (ring.size() - used_ < at_least) used_ = 0;
    return std::span{ring}.subspan(used_);
  }
  void advance(std::size_t bytes) override {
    used_ += bytes;
    bytes_ += bytes;
  }
  void page(PageIndex, const std::byte*) override { ++pages_; }
  void zero_page(PageIndex) override { ++zero_pages_; }
  void device_state(std::span<const std::byte> state) override { device_bytes_ += state.size(); }

  void on_paused(std::function<void()> hook) { on_paused_ = std::move(hook); }
  [[nodiscard]] PageIndex pages_total() const noexcept { return pages_total_; }
  [[nodiscard]] std::uint64_t pages() const noexcept { return pages_; }
  [[nodiscard]] std::uint64_t zero_pages() const noexcept { return zero_pages_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint64_t device_bytes() const noexcept { return device_bytes_; }

 private:
  static constexpr std::size_t ring_bytes = 32UL << 20;

  std::vector<std::vector<std::byte>> rings_{};
  std::size_t used_{0};
  std::function<void()> on_paused_{};
  PageIndex pages_total_{0};
  std::uint64_t pages_{0};
  std::uint64_t zero_pages_{0};
  std::uint64_t bytes_{0};
  std::uint64_t device_bytes_{0};
};

}  // namespace remus::checkpoint
