#include "checkpoint/epoch_buffer.hpp"

#include "base/assert.hpp"

namespace remus::checkpoint {

Result<std::unique_ptr<EpochBuffer>> EpochBuffer::create(const Layout& layout, Options options) {
  const std::uint64_t pages = layout.pages();
  auto data = Reservation::create(2 * pages * page_bytes + options.slack_bytes, "the pages of an epoch");
  if (!data) return std::unexpected(std::move(data.error()));
  auto records = Reservation::create(pages * sizeof(PageRecord), "the page records of an epoch");
  if (!records) return std::unexpected(std::move(records.error()));
  auto slots = Reservation::create(pages * sizeof(PageIndex), "the page slots of an epoch");
  if (!slots) return std::unexpected(std::move(slots.error()));
  return std::unique_ptr<EpochBuffer>{
      new EpochBuffer{layout, options, std::move(*data), std::move(*records), std::move(*slots)}};
}

EpochBuffer::EpochBuffer(Layout layout, Options options, Reservation data, Reservation records,
                         Reservation slots)
    : layout_{std::move(layout)},
      page_count_{layout_.pages()},
      options_{options},
      data_{std::move(data)},
      records_{std::move(records)},
      slots_{std::move(slots)} {}

void EpochBuffer::layout(const Layout& layout) {
  REMUS_ASSERT("pre", layout == layout_, "an epoch buffer is used for the layout it was created for");
}

void EpochBuffer::paused() {
  was_paused_ = true;
  if (on_paused_) on_paused_();
}

std::span<std::byte> EpochBuffer::space(std::size_t at_least) {
  if (data_.size() - used_bytes_ < at_least) return {};
  return {data_.data() + used_bytes_, data_.size() - used_bytes_};
}

void EpochBuffer::advance(std::size_t bytes) {
  REMUS_ASSERT("pre", bytes <= data_.size() - used_bytes_, "no more is taken into use than space() gave");
  used_bytes_ += bytes;
}

void EpochBuffer::page(PageIndex index, const std::byte* data) {
  REMUS_ASSERT("pre", data != nullptr, "a page with content has content");
  put(index, data);
}

void EpochBuffer::zero_page(PageIndex index) {
  put(index, nullptr);
}

void EpochBuffer::put(PageIndex index, const std::byte* data) {
  REMUS_ASSERT("pre", index < page_count_, "a captured page lies within the layout");
  // Slots hold record number + 1; fresh memory reads as "no record yet".
  PageIndex& slot = reinterpret_cast<PageIndex*>(slots_.data())[index];
  auto* const records = reinterpret_cast<PageRecord*>(records_.data());
  if (slot == 0) {
    records[record_count_] = PageRecord{data, index};
    slot = static_cast<PageIndex>(++record_count_);
  } else {
    PageRecord& record = records[slot - 1];
    if (record.data == nullptr) --zero_count_;
    record.data = data;
  }
  if (data == nullptr) ++zero_count_;
}

void EpochBuffer::device_state(std::span<const std::byte> state) {
  device_state_ = state;
}

std::span<const PageRecord> EpochBuffer::records() const noexcept {
  return {reinterpret_cast<const PageRecord*>(records_.data()), record_count_};
}

void EpochBuffer::recycle(Epoch next) {
  auto* const slots = reinterpret_cast<PageIndex*>(slots_.data());
  for (const PageRecord& record : records()) slots[record.index] = 0;
  data_.release(options_.keep_bytes, used_bytes_);
  records_.release(options_.keep_bytes / page_bytes * sizeof(PageRecord), record_count_ * sizeof(PageRecord));
  used_bytes_ = 0;
  record_count_ = 0;
  zero_count_ = 0;
  device_state_ = {};
  epoch_ = next;
  was_paused_ = false;
}

}  // namespace remus::checkpoint
