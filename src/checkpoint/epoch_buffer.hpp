// One captured epoch, held on the primary until it is encoded.
//
// Filled while the guest is paused, so filling it is only bytes put in place and two array writes a page:
//
//   data     | stream header | page | page | header | page | ... | device state |      space()/advance()
//   records  | index 17 → ● | index 18 → ● | index 40 = zero | ...                     page()/zero_page()
//   slots    per page of the guest: where its record is, so that a page captured twice has one record, the
//   last
//
// All three are reserved at full size at construction and never move. Not thread-safe; one thread fills it,
// then hands it on.
#pragma once

#include <functional>
#include <memory>

#include "base/error.hpp"
#include "checkpoint/reservation.hpp"
#include "checkpoint/sink.hpp"

namespace remus::checkpoint {

/// A captured page; `data` is null for a page of zeros.
struct PageRecord {
  const std::byte* data{nullptr};
  PageIndex index{};
};

struct EpochBufferOptions {
  std::size_t keep_bytes = 64UL << 20;   ///< page data that stays resident when the buffer is recycled
  std::size_t slack_bytes = 64UL << 20;  ///< beyond twice the guest: device state and stream headers
};

class EpochBuffer final : public CheckpointSink {
 public:
  using Options = EpochBufferOptions;

  /// Errors: exhausted, if the address space cannot be reserved.
  [[nodiscard]] static Result<std::unique_ptr<EpochBuffer>> create(const Layout& layout,
                                                                   Options options = {});

  // CheckpointSink
  void layout(const Layout& layout) override;  ///< must be the layout it was created for
  void paused() override;
  /// Bounded by twice the guest's memory plus slack; past that, an empty span.
  [[nodiscard]] std::span<std::byte> space(std::size_t at_least) override;
  void advance(std::size_t bytes) override;
  void page(PageIndex index, const std::byte* data) override;  ///< again: the last one wins
  void zero_page(PageIndex index) override;
  void device_state(std::span<const std::byte> state) override;

  /// Called from paused(), while the guest stands still: output marks are taken here.
  void on_paused(std::function<void()> hook) { on_paused_ = std::move(hook); }

  /// Empties the buffer for the next epoch; memory beyond keep_bytes goes back to the kernel. Spans got from
  /// it end.
  void recycle(Epoch next);
  /// Makes `bytes` of page data resident, so that no page fault falls into the pause.
  void prefault(std::size_t bytes) noexcept { data_.prefault(bytes); }

  [[nodiscard]] Epoch epoch() const noexcept { return epoch_; }
  void epoch(Epoch epoch) noexcept { epoch_ = epoch; }
  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  /// Every captured page once, in the order of its first capture.
  [[nodiscard]] std::span<const PageRecord> records() const noexcept;
  [[nodiscard]] std::span<const std::byte> device_state() const noexcept { return device_state_; }
  [[nodiscard]] bool was_paused() const noexcept { return was_paused_; }

  [[nodiscard]] std::size_t pages() const noexcept { return record_count_; }  ///< zero pages included
  [[nodiscard]] std::size_t zero_pages() const noexcept { return zero_count_; }
  [[nodiscard]] std::uint64_t raw_bytes() const noexcept {  ///< what a naive copy would send
    return std::uint64_t{record_count_} * page_bytes + device_state_.size();
  }
  [[nodiscard]] std::size_t used_bytes() const noexcept { return used_bytes_; }

 private:
  EpochBuffer(Layout layout, Options options, Reservation data, Reservation records, Reservation slots);
  void put(PageIndex index, const std::byte* data);

  Layout layout_;
  PageIndex page_count_;
  Options options_;
  Reservation data_;
  Reservation records_;
  Reservation slots_;
  std::size_t used_bytes_{0};
  std::size_t record_count_{0};
  std::size_t zero_count_{0};
  std::span<const std::byte> device_state_{};
  std::function<void()> on_paused_{};
  Epoch epoch_{0};
  bool was_paused_{false};
};

}  // namespace remus::checkpoint
