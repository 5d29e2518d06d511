// The backup's decoder: checks a batch before it is acknowledged, and applies it once its epoch is committed.
//
// validate() goes through every byte of the batch without touching memory, and what it accepts apply() cannot
// fail on: an acknowledged epoch can always be applied. Neither trusts the payload: any bytes at all give
// success or Errc::corrupt, and nothing is written outside the image.
#pragma once

#include <span>

#include "base/error.hpp"
#include "checkpoint/image.hpp"
#include "checkpoint/packer.hpp"
#include "checkpoint/page_batch.hpp"

namespace remus::checkpoint {

struct BatchSummary {
  std::uint32_t records{};
  std::uint32_t zero{};
  std::uint32_t raw{};
  std::uint32_t delta{};
  std::uint32_t body_bytes{};
  Packing packing{};
};

class BatchDecoder final {
 public:
  explicit BatchDecoder(const Layout& layout);
  BatchDecoder(const BatchDecoder&) = delete;
  BatchDecoder& operator=(const BatchDecoder&) = delete;
  ~BatchDecoder();

  /// Errors: corrupt.
  [[nodiscard]] Result<BatchSummary> validate(std::span<const std::byte> payload);
  /// Batches of a session are applied in the order they were encoded. Errors: corrupt; the image may then
  /// hold a part of the batch, and the session must end.
  [[nodiscard]] Result<BatchSummary> apply(std::span<const std::byte> payload, Image& image);

 private:
  [[nodiscard]] Result<BatchSummary> unpack(std::span<const std::byte> payload);
  template <typename Visitor>
  [[nodiscard]] Status walk(BatchSummary& summary, Visitor&& visit);

  PageIndex page_count_;
  Unpacker unpacker_{};
  std::span<const std::byte> body_{};
};

}  // namespace remus::checkpoint
