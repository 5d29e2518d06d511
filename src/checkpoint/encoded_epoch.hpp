// An epoch as bytes to be sent: its batches, in order, kept until the backup acknowledged them so that they
// can be sent again, the same bytes, after a reconnect. Recycled without giving up its memory, like
// EpochBuffer.
#pragma once

#include <memory>
#include <vector>

#include "base/error.hpp"
#include "checkpoint/epoch_digest.hpp"
#include "checkpoint/page_batch.hpp"
#include "checkpoint/reservation.hpp"

namespace remus::checkpoint {

class EncodedEpoch final : public BatchOutput {
 public:
  /// Room for any epoch of a guest of this layout. Errors: exhausted.
  [[nodiscard]] static Result<std::unique_ptr<EncodedEpoch>> create(const Layout& layout,
                                                                    std::size_t keep_bytes = 16UL << 20);

  [[nodiscard]] std::span<std::byte> batch_space() override;
  void batch_ready(std::size_t bytes) override;

  /// The backup keeps what it received in one of these too. False if the epoch is larger than the guest can
  /// make it.
  [[nodiscard]] bool append(std::span<const std::byte> payload);

  [[nodiscard]] std::size_t batches() const noexcept { return ends_.size(); }
  [[nodiscard]] std::span<const std::byte> batch(std::size_t i) const;  ///< valid until recycle()
  [[nodiscard]] std::size_t batch_bytes() const noexcept { return ends_.empty() ? 0 : ends_.back(); }

  /// The packed device state (DeviceEncoder::encode writes here) and the epoch's closing record.
  [[nodiscard]] std::vector<std::byte>& device_state() noexcept { return device_state_; }
  [[nodiscard]] const std::vector<std::byte>& device_state() const noexcept { return device_state_; }
  [[nodiscard]] EpochDigest& digest() noexcept { return digest_; }
  [[nodiscard]] const EpochDigest& digest() const noexcept { return digest_; }

  [[nodiscard]] std::size_t total_bytes() const noexcept { return batch_bytes() + device_state_.size(); }

  void recycle();

 private:
  EncodedEpoch(Reservation memory, std::size_t keep_bytes) noexcept
      : memory_{std::move(memory)}, keep_bytes_{keep_bytes} {}

  [[nodiscard]] bool fits(std::size_t bytes) const noexcept {
    return memory_.size() - batch_bytes() >= bytes;
  }

  Reservation memory_;
  std::size_t keep_bytes_;
  std::vector<std::size_t> ends_{};
  std::vector<std::byte> device_state_{};
  EpochDigest digest_{};
};

}  // namespace remus::checkpoint
