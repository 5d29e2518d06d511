// The closing record of an epoch: what the backup must have got, and what its image must be once it is
// applied.
//
//   primary  encode pages → encode device state → digest ──────▶ backup
//   backup   complete(): counts and device state agree          → holds all of it → ack
//            exact(): image hash agrees, after apply            → the copy is exact
//
//   u64 epoch | u64 pages | u64 batches | u64 batch_bytes | u64 device_bytes | 16 B device_hash | 16 B
//   image_hash
#pragma once

#include <array>
#include <span>

#include "base/error.hpp"
#include "checkpoint/page_hash.hpp"

namespace remus::checkpoint {

struct EpochDigest {
  Epoch epoch{};
  std::uint64_t pages{};  ///< records in the batches
  std::uint64_t batches{};
  std::uint64_t batch_bytes{};   ///< of all batches, packed
  std::uint64_t device_bytes{};  ///< of the device state, unpacked
  Hash128 device_hash{};         ///< of the device state, unpacked
  Hash128 image_hash{};          ///< of the whole image after this epoch
  bool operator==(const EpochDigest&) const = default;
};

/// Counts an epoch as it comes in (on the backup) or goes out.
class EpochTally final {
 public:
  explicit EpochTally(Epoch epoch = 0) noexcept { digest_.epoch = epoch; }
  void batch(std::uint64_t records, std::size_t payload_bytes) noexcept {
    digest_.pages += records;
    ++digest_.batches;
    digest_.batch_bytes += payload_bytes;
  }
  void device_state(std::span<const std::byte> state, const PageHasher& hasher) noexcept;  ///< unpacked
  [[nodiscard]] const EpochDigest& digest() const noexcept { return digest_; }

 private:
  EpochDigest digest_{};
};

inline constexpr std::size_t epoch_digest_bytes = 5 * 8 + 2 * 16;

[[nodiscard]] std::array<std::byte, epoch_digest_bytes> encode(const EpochDigest& digest) noexcept;
/// Errors: corrupt, if the size is wrong.
[[nodiscard]] Result<EpochDigest> decode_epoch_digest(std::span<const std::byte> bytes);

/// Everything but the image hash agrees: the epoch is here, whole. Errors: corrupt, names what differs.
[[nodiscard]] Status complete(const EpochDigest& announced, const EpochDigest& received);
/// The image is the one the primary means. Errors: corrupt.
[[nodiscard]] Status exact(const EpochDigest& announced, const Hash128& image_hash);

}  // namespace remus::checkpoint
