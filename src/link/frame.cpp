#include "link/frame.hpp"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "base/assert.hpp"
#include "link/wire.hpp"

namespace remus::link {
namespace {

constexpr std::size_t at_magic = 0;
constexpr std::size_t at_version = 4;
constexpr std::size_t at_type = 6;
constexpr std::size_t at_flags = 8;
constexpr std::size_t at_reserved = 10;
constexpr std::size_t at_payload_bytes = 12;
constexpr std::size_t at_sequence = 16;
constexpr std::size_t at_checksum = 24;

std::uint64_t checksum_of(std::span<const std::byte> header, std::span<const std::byte> head,
                          std::span<const std::byte> tail) {
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, header.data(), at_checksum);
  if (!head.empty()) XXH3_64bits_update(&state, head.data(), head.size());
  if (!tail.empty()) XXH3_64bits_update(&state, tail.data(), tail.size());
  return XXH3_64bits_digest(&state);
}

/// The first bytes of something that is not a frame, for a person: hex, and text where it is text.
std::string seen(std::span<const std::byte> bytes) {
  std::string hex;
  std::string text;
  for (const std::byte b : bytes.first(std::min<std::size_t>(bytes.size(), 8))) {
    const auto c = std::to_integer<unsigned char>(b);
    hex += fmt::format("{:02x} ", c);
    text += std::isprint(c) != 0 ? static_cast<char>(c) : '.';
  }
  return fmt::format("{}(\"{}\")", hex, text);
}

}  // namespace

std::array<std::byte, frame_header_bytes> encode_frame_header(const FrameHeader& header,
                                                              std::span<const std::byte> head,
                                                              std::span<const std::byte> tail) {
  REMUS_ASSERT("pre", header.payload_bytes == head.size() + tail.size(),
               "a frame's length is that of its parts");
  REMUS_ASSERT("pre", header.payload_bytes <= frame_payload_bytes_max, "a frame's payload is bounded");
  std::array<std::byte, frame_header_bytes> out{};
  wire::store(out.data() + at_magic, frame_magic);
  wire::store(out.data() + at_version, frame_version);
  wire::store(out.data() + at_type, header.type);
  wire::store(out.data() + at_flags, header.flags);
  wire::store(out.data() + at_reserved, std::uint16_t{0});
  wire::store(out.data() + at_payload_bytes, header.payload_bytes);
  wire::store(out.data() + at_sequence, header.sequence);
  wire::store(out.data() + at_checksum, checksum_of(out, head, tail));
  return out;
}

FrameDecoder::FrameDecoder(std::size_t payload_bytes_max) noexcept : payload_bytes_max_{payload_bytes_max} {}

Result<std::optional<Frame>> FrameDecoder::next(std::span<const std::byte>& input) {
  if (broken_) return std::unexpected(*broken_);
  if (header_filled_ < frame_header_bytes) {
    const std::size_t take = std::min(input.size(), frame_header_bytes - header_filled_);
    std::copy_n(input.begin(), take, header_bytes_.begin() + static_cast<std::ptrdiff_t>(header_filled_));
    header_filled_ += take;
    input = input.subspan(take);
    if (header_filled_ < frame_header_bytes) return std::nullopt;
    if (Status begun = begin_payload(); !begun) {
      broken_ = begun.error();
      return std::unexpected(*broken_);
    }
  }
  const std::size_t take = std::min(input.size(), header_.payload_bytes - payload_.size());
  payload_.insert(payload_.end(), input.begin(), input.begin() + static_cast<std::ptrdiff_t>(take));
  input = input.subspan(take);
  if (payload_.size() < header_.payload_bytes) return std::nullopt;
  Result<Frame> frame = finish();
  if (!frame) {
    broken_ = frame.error();
    return std::unexpected(*broken_);
  }
  return std::optional<Frame>{std::move(*frame)};
}

Status FrameDecoder::begin_payload() {
  const std::byte* h = header_bytes_.data();
  if (const auto magic = wire::load<std::uint32_t>(h + at_magic); magic != frame_magic)
    return fail(Errc::corrupt, fmt::format("not a Remus frame: expected the magic \"RMUS\" and saw {}",
                                           seen(header_bytes_)));
  if (const auto version = wire::load<std::uint16_t>(h + at_version); version != frame_version)
    return fail(Errc::incompatible,
                fmt::format("frame version {} is not spoken here, only {}", version, frame_version),
                "run the same Remus release on both hosts");
  header_.type = wire::load<std::uint16_t>(h + at_type);
  header_.flags = wire::load<std::uint16_t>(h + at_flags);
  header_.payload_bytes = wire::load<std::uint32_t>(h + at_payload_bytes);
  header_.sequence = wire::load<std::uint64_t>(h + at_sequence);
  checksum_ = wire::load<std::uint64_t>(h + at_checksum);
  if ((header_.flags & ~frame_flag::known) != 0)
    return fail(Errc::corrupt, fmt::format("frame {} of type {} has unknown flags {:#06x}", next_sequence_,
                                           header_.type, header_.flags));
  if (const auto reserved = wire::load<std::uint16_t>(h + at_reserved); reserved != 0)
    return fail(Errc::corrupt, fmt::format("frame {} of type {} has {:#06x} where zero must be",
                                           next_sequence_, header_.type, reserved));
  if (header_.payload_bytes > payload_bytes_max_)
    return fail(Errc::corrupt,
                fmt::format("frame {} of type {} says {} payload bytes; at most {} are allowed",
                            next_sequence_, header_.type, header_.payload_bytes, payload_bytes_max_));
  if (header_.sequence != next_sequence_)
    return fail(Errc::corrupt, fmt::format("frame out of sequence: expected {}, saw {} (type {})",
                                           next_sequence_, header_.sequence, header_.type));
  payload_.clear();
  payload_.reserve(header_.payload_bytes);
  return {};
}

Result<Frame> FrameDecoder::finish() {
  const std::uint64_t computed = checksum_of(header_bytes_, payload_, {});
  if (computed != checksum_)
    return fail(Errc::corrupt,
                fmt::format("checksum of frame {} (type {}, {} bytes) is {:016x}, its header says {:016x}",
                            header_.sequence, header_.type, header_.payload_bytes, computed, checksum_));
  Frame frame{header_, Payload::own(std::move(payload_))};
  payload_ = {};
  header_filled_ = 0;
  ++next_sequence_;
  return frame;
}

}  // namespace remus::link
