// A page batch: many pages in one frame's payload. docs/page-batch-format.md gives every byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace remus::checkpoint {

inline constexpr std::size_t batch_header_bytes = 12;
inline constexpr std::size_t batch_body_bytes_max = 256UL * 1024 - batch_header_bytes;
inline constexpr std::size_t batch_payload_bytes_max =
    batch_header_bytes + batch_body_bytes_max;  ///< 256 KiB
inline constexpr std::uint32_t batch_records_max =
    4096;  ///< what one frame can make the backup write: 16 MiB
inline constexpr std::size_t record_header_bytes_max = 5 + 2;  ///< varint of 34 bits, length of a delta
inline constexpr std::uint8_t batch_version = 1;

/// How a batch's body is packed. The values are on the wire.
enum class Packing : std::uint8_t { none = 0, lz4 = 1, zstd = 2 };

/// What a record says about its page. The values are on the wire.
enum class RecordKind : std::uint8_t { zero = 0, raw = 1, delta = 2 };

/// Where finished batches go: a buffer per epoch, or straight into a link's frames. The encoder packs right
/// into the memory it gets, so a frame header may be kept free in front of it.
class BatchOutput {
 public:
  BatchOutput() = default;
  BatchOutput(const BatchOutput&) = delete;
  BatchOutput& operator=(const BatchOutput&) = delete;
  virtual ~BatchOutput() = default;

  /// At least batch_payload_bytes_max writable bytes. May wait for the link. Never fails: an output whose
  /// link is gone gives memory and forgets what is put there.
  [[nodiscard]] virtual std::span<std::byte> batch_space() = 0;
  /// The first `bytes` of that memory are one batch.
  virtual void batch_ready(std::size_t bytes) = 0;
};

}  // namespace remus::checkpoint
