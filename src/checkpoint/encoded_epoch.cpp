#include "checkpoint/encoded_epoch.hpp"

#include <cstring>

#include "base/assert.hpp"

namespace remus::checkpoint {
namespace {

/// Every page once, raw, in batches that each waste less than a page and a header.
constexpr std::uint64_t worst_case_bytes(std::uint64_t pages) {
  constexpr std::size_t batch_pages = batch_body_bytes_max / (page_bytes + record_header_bytes_max) - 1;
  return pages * (page_bytes + record_header_bytes_max) + (pages / batch_pages + 2) * batch_header_bytes +
         batch_payload_bytes_max;
}

}  // namespace

Result<std::unique_ptr<EncodedEpoch>> EncodedEpoch::create(const Layout& layout, std::size_t keep_bytes) {
  auto memory = Reservation::create(worst_case_bytes(layout.pages()), "an encoded epoch");
  if (!memory) return std::unexpected(std::move(memory.error()));
  return std::unique_ptr<EncodedEpoch>{new EncodedEpoch{std::move(*memory), keep_bytes}};
}

std::span<std::byte> EncodedEpoch::batch_space() {
  REMUS_ASSERT("pre", fits(batch_payload_bytes_max), "an encoded epoch holds each page once");
  return {memory_.data() + batch_bytes(), batch_payload_bytes_max};
}

void EncodedEpoch::batch_ready(std::size_t bytes) {
  REMUS_ASSERT("pre", bytes <= batch_payload_bytes_max, "a batch is bounded");
  ends_.push_back(batch_bytes() + bytes);
}

bool EncodedEpoch::append(std::span<const std::byte> payload) {
  if (payload.size() > batch_payload_bytes_max || !fits(payload.size())) return false;
  std::memcpy(memory_.data() + batch_bytes(), payload.data(), payload.size());
  batch_ready(payload.size());
  return true;
}

std::span<const std::byte> EncodedEpoch::batch(std::size_t i) const {
  REMUS_ASSERT("pre", i < ends_.size(), "a batch asked for exists");
  const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
  return {memory_.data() + begin, ends_[i] - begin};
}

void EncodedEpoch::recycle() {
  memory_.release(keep_bytes_, batch_bytes());
  ends_.clear();
  device_state_.clear();
  digest_ = {};
}

}  // namespace remus::checkpoint
