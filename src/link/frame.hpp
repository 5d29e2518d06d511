// A stream of bytes cut into frames, and frames put together again.
//
//   0      4       6    8     10       12              16         24         32
//   ┌──────┬───────┬────┬─────┬────────┬───────────────┬──────────┬──────────┬─────────── ─ ─
//   │ magic│version│type│flags│reserved│ payload bytes │ sequence │ checksum │ payload
//   └──────┴───────┴────┴─────┴────────┴───────────────┴──────────┴──────────┴─────────── ─ ─
//
// Little-endian. Every byte is specified in docs/protocol.md. The checksum is XXH3-64 over the first 24
// header bytes and the payload. TLS already proves that nobody changed the bytes on the way; the checksum is
// there for what TLS can't see: a buffer recycled too early, a bad memory module, a bug of ours between
// encoder and applier. XXH3-64 rather than CRC32C because it runs at memory speed without special
// instructions and 64 bits make a chance match over years of checkpoints (10^11 frames) negligible, which 32
// bits do not.
//
// Sans-I/O: bytes in, frames out, so that a fuzzer can drive it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "link/payload.hpp"

namespace remus::link {

inline constexpr std::uint32_t frame_magic = 0x53554d52;  ///< "RMUS" on the wire
inline constexpr std::uint16_t frame_version = 1;         ///< of this header; messages have their own version
inline constexpr std::size_t frame_header_bytes = 32;
inline constexpr std::size_t frame_payload_bytes_max = std::size_t{1} << 20;

namespace frame_flag {
inline constexpr std::uint16_t optional = 1U << 0;  ///< a receiver that doesn't know the type skips the frame
inline constexpr std::uint16_t bulk = 1U << 1;      ///< counts against the receive window
inline constexpr std::uint16_t known = optional | bulk;
}  // namespace frame_flag

struct FrameHeader {
  std::uint16_t type{};
  std::uint16_t flags{};
  std::uint32_t payload_bytes{};
  std::uint64_t sequence{};  ///< 0, 1, 2, ... per direction and connection
  [[nodiscard]] bool optional() const noexcept { return (flags & frame_flag::optional) != 0; }
  [[nodiscard]] bool bulk() const noexcept { return (flags & frame_flag::bulk) != 0; }
  bool operator==(const FrameHeader&) const = default;
};

struct Frame {
  FrameHeader header{};
  Payload payload{};
  /// What the frame took on the wire: what is counted against the receive window when it is bulk.
  [[nodiscard]] std::size_t wire_bytes() const noexcept { return frame_header_bytes + payload.size(); }
};

/// The 32 bytes that go before a payload made of `head` followed by `tail`. header.payload_bytes must be
/// their sum and ≤ frame_payload_bytes_max (asserted).
[[nodiscard]] std::array<std::byte, frame_header_bytes> encode_frame_header(const FrameHeader& header,
                                                                            std::span<const std::byte> head,
                                                                            std::span<const std::byte> tail);

/// Cuts received bytes into frames. Holds at most one frame (≤ 1 MiB + 32 bytes). After an error it stays in
/// error: a stream out of step cannot be trusted again.
class FrameDecoder final {
 public:
  /// `payload_bytes_max` may be lowered, e.g. before the peer has said who it is for.
  explicit FrameDecoder(std::size_t payload_bytes_max = frame_payload_bytes_max) noexcept;

  /// Takes bytes from the front of `input` (which is moved on) up to the end of the next frame. A frame when
  /// one is whole, nullopt when `input` is used up. Errors: corrupt (garbage, bad checksum, out of sequence,
  /// oversized), incompatible (another frame version); the sentence says what was seen.
  [[nodiscard]] Result<std::optional<Frame>> next(std::span<const std::byte>& input);

  /// True between frames: an end of stream here loses nothing.
  [[nodiscard]] bool at_boundary() const noexcept { return header_filled_ == 0; }
  void set_payload_bytes_max(std::size_t bytes) noexcept { payload_bytes_max_ = bytes; }

 private:
  [[nodiscard]] Status begin_payload();
  [[nodiscard]] Result<Frame> finish();

  std::size_t payload_bytes_max_;
  std::array<std::byte, frame_header_bytes> header_bytes_{};
  std::size_t header_filled_{0};
  FrameHeader header_{};
  std::uint64_t checksum_{0};
  std::vector<std::byte> payload_{};
  std::uint64_t next_sequence_{0};
  std::optional<Error> broken_{};
};

}  // namespace remus::link
