// A sink that is the backup in small: an image of the guest's memory, brought up to date page by page, and
// the last device state.
#pragma once

#include <functional>
#include <vector>

#include "checkpoint/blackhole_sink.hpp"

namespace remus::test {

class ImageSink final : public checkpoint::CheckpointSink {
 public:
  ~ImageSink() override;
  void layout(const checkpoint::Layout& layout) override;
  void paused() override {}
  std::span<std::byte> space(std::size_t at_least) override { return ring_.space(at_least); }
  void advance(std::size_t bytes) override { ring_.advance(bytes); }
  void page(checkpoint::PageIndex index, const std::byte* data) override;
  void zero_page(checkpoint::PageIndex index) override;
  void device_state(std::span<const std::byte> state) override;

  /// Called when everything of a checkpoint is there and the guest still stands.
  std::function<void()> on_complete{};
  [[nodiscard]] const checkpoint::Layout& guest() const noexcept { return layout_; }
  [[nodiscard]] const std::byte* at(checkpoint::PageIndex index) const noexcept {
    return image_ + std::size_t{index} * checkpoint::page_bytes;
  }
  [[nodiscard]] std::span<const std::byte> state() const noexcept { return state_; }

 private:
  checkpoint::BlackholeSink ring_{};
  checkpoint::Layout layout_{};
  std::byte* image_{};
  std::vector<std::byte> state_{};
};

}  // namespace remus::test
