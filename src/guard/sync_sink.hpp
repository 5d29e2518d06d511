// The synchronization's sink: all of a running guest's memory on its way to the backup, in bounded memory.
//
// An epoch fits into a buffer; a whole guest does not. So pages are taken in as they come and handed on in
// segments of about a megabyte; the capture waits while too many segments are on their way (the guest runs
// meanwhile). From the pause that makes epoch 0 on nothing waits any more: what is left is small, and the
// guest stands still.
//
//   one reservation, never wraps:
//   recv ─▶ │ used, sent, given back to the kernel │ segment │ segment │ being filled ─▶
//
// The capture thread fills it; the encoder calls done() and release() from its own thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "checkpoint/epoch_buffer.hpp"
#include "checkpoint/reservation.hpp"
#include "checkpoint/sink.hpp"

namespace remus::guard {

class SyncSink final : public checkpoint::CheckpointSink {
 public:
  static constexpr std::size_t segment_bytes = 1UL << 20;
  static constexpr std::size_t segment_pages_max = 8192;  ///< zero pages bring no bytes
  static constexpr std::size_t segments_out_max = 24;

  struct Segment {
    std::vector<checkpoint::PageRecord> records{};
    std::size_t end_offset{};  ///< memory before this is not needed once the segment is encoded
  };
  struct Hooks {
    /// The layout is known. Waits until the backup is ready for it; false: give up.
    std::function<bool(const checkpoint::Layout&)> layout{};
    std::function<void()> paused{};
    std::function<void(Segment)> segment{};
  };

  /// `guest_bytes`: about how much memory the guest has; bounds how much may go through. Errors: exhausted.
  [[nodiscard]] static Result<std::shared_ptr<SyncSink>> create(std::uint64_t guest_bytes, Hooks hooks);

  void layout(const checkpoint::Layout& layout) override;
  void paused() override;
  /// An empty span when given up, or when the guest changes memory faster than it can be sent: more than
  /// `rounds_max` times its memory has gone through.
  [[nodiscard]] std::span<std::byte> space(std::size_t at_least) override;
  void advance(std::size_t bytes) override { used_ += bytes; }
  void page(checkpoint::PageIndex index, const std::byte* data) override;
  void zero_page(checkpoint::PageIndex index) override;
  void device_state(std::span<const std::byte> state) override { device_state_ = state; }

  /// Hands the last, unfull segment on.
  void finish() { cut(); }
  /// Makes space() end soon. Thread-safe.
  void give_up();
  /// A segment has been encoded: its memory may go. Encoder's thread only.
  void release(std::size_t end_offset) noexcept;
  /// A segment has left for the link. Thread-safe.
  void done();

  [[nodiscard]] std::span<const std::byte> device_state() const noexcept { return device_state_; }
  [[nodiscard]] const checkpoint::Layout& known_layout() const noexcept { return layout_; }
  [[nodiscard]] bool too_slow() const noexcept { return too_slow_; }

 private:
  SyncSink(checkpoint::Reservation memory, Hooks hooks)
      : hooks_{std::move(hooks)}, memory_{std::move(memory)} {}
  static constexpr std::size_t rounds_max = 32;
  void cut();

  Hooks hooks_;
  checkpoint::Layout layout_{};
  checkpoint::Reservation memory_;
  std::size_t used_{0};
  std::size_t released_{0};
  Segment filling_{};
  std::size_t filling_bytes_{0};
  std::span<const std::byte> device_state_{};
  bool paused_{false};
  bool too_slow_{false};

  std::mutex mutex_;
  std::condition_variable room_;
  std::size_t segments_out_{0};
  bool given_up_{false};
};

}  // namespace remus::guard
