// The frame decoder, fed anything in pieces of any size.
//
// What must hold: no byte is read twice or passed over, nothing beyond the bound is kept, an error is final,
// and a frame that is accepted encodes to the very bytes it came from. A checksum would keep the fuzzer out
// of everything behind it, so half of the inputs have theirs mended first.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "link/frame.hpp"
#include "link/wire.hpp"

namespace {

using namespace remus::link;

void require(bool condition) {
  if (!condition) std::abort();
}

/// Walks the input as a decoder would and writes checksums and sequence numbers that fit.
void mend(std::vector<std::byte>& bytes) {
  std::uint64_t sequence = 0;
  for (std::size_t at = 0; at + frame_header_bytes <= bytes.size();) {
    const std::size_t left = bytes.size() - at - frame_header_bytes;
    const std::size_t payload = wire::load<std::uint16_t>(bytes.data() + at + 12) % (left + 1);
    const FrameHeader header{wire::load<std::uint16_t>(bytes.data() + at + 6),
                             wire::load<std::uint16_t>(bytes.data() + at + 8),
                             static_cast<std::uint32_t>(payload), sequence++};
    const std::span<const std::byte> body{bytes.data() + at + frame_header_bytes, payload};
    const auto head = encode_frame_header(header, body, {});
    std::memcpy(bytes.data() + at, head.data(), head.size());
    at += frame_header_bytes + payload;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t piece = std::size_t{data[0]} + 1;
  const bool mended = (data[1] & 1) != 0;
  std::vector<std::byte> bytes(size - 2);
  if (!bytes.empty()) std::memcpy(bytes.data(), data + 2, bytes.size());
  if (mended) mend(bytes);

  FrameDecoder decoder;
  std::size_t consumed_frames = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    std::span<const std::byte> input{bytes.data() + at, std::min(piece, bytes.size() - at)};
    at += input.size();
    while (true) {
      const std::size_t before = input.size();
      auto next = decoder.next(input);
      require(input.size() <= before);
      if (!next) {
        require(!next.error().what.empty());
        require(!decoder.next(input).has_value());
        return 0;
      }
      if (!next->has_value()) {
        require(input.empty());
        break;
      }
      const Frame& frame = **next;
      require(frame.payload.size() == frame.header.payload_bytes &&
              frame.payload.size() <= frame_payload_bytes_max);
      const auto header = encode_frame_header(frame.header, frame.payload.bytes(), {});
      require(consumed_frames + frame.wire_bytes() <= bytes.size());
      require(std::memcmp(header.data(), bytes.data() + consumed_frames, header.size()) == 0);
      consumed_frames += frame.wire_bytes();
      require(decoder.at_boundary());
    }
  }
  return 0;
}
