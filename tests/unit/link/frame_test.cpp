#include "link/frame.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "link/wire.hpp"

namespace remus::link {
namespace {

using ::testing::HasSubstr;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto view = std::as_bytes(std::span{text});
  return {view.begin(), view.end()};
}

std::vector<std::byte> frame(std::uint64_t sequence, std::span<const std::byte> payload,
                             std::uint16_t type = 16, std::uint16_t flags = 0) {
  const FrameHeader header{type, flags, static_cast<std::uint32_t>(payload.size()), sequence};
  const auto head = encode_frame_header(header, payload, {});
  std::vector<std::byte> out(head.size() + payload.size());
  std::ranges::copy(head, out.begin());
  std::ranges::copy(payload, out.begin() + frame_header_bytes);
  return out;
}

Error error_of(std::span<const std::byte> input, FrameDecoder decoder = FrameDecoder{}) {
  auto result = decoder.next(input);
  EXPECT_FALSE(result.has_value());
  return result ? Error{} : result.error();
}

TEST(Frame, HeaderIsLaidOutAsSpecified) {
  const auto payload = bytes_of("abc");
  const auto out = frame(0x1122334455667788, payload, 0x0130, frame_flag::bulk);
  ASSERT_EQ(out.size(), 35U);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(out.data()), 4), "RMUS");
  EXPECT_EQ(wire::load<std::uint16_t>(out.data() + 4), 1);
  EXPECT_EQ(wire::load<std::uint16_t>(out.data() + 6), 0x0130);
  EXPECT_EQ(wire::load<std::uint16_t>(out.data() + 8), 2);
  EXPECT_EQ(wire::load<std::uint16_t>(out.data() + 10), 0);
  EXPECT_EQ(wire::load<std::uint32_t>(out.data() + 12), 3U);
  EXPECT_EQ(out[16], std::byte{0x88});
  EXPECT_EQ(wire::load<std::uint64_t>(out.data() + 16), 0x1122334455667788U);
}

TEST(Frame, ChecksumIsTheSameHoweverThePayloadIsSplit) {
  const auto payload = bytes_of("head and tail");
  const FrameHeader header{50, 0, static_cast<std::uint32_t>(payload.size()), 9};
  const std::span<const std::byte> all{payload};
  EXPECT_EQ(encode_frame_header(header, all, {}), encode_frame_header(header, all.first(5), all.subspan(5)));
}

TEST(FrameDecoder, PutsFramesTogetherFromPiecesOfAnySize) {
  std::mt19937 random{7};
  std::vector<std::byte> stream;
  std::vector<std::vector<std::byte>> payloads;
  for (std::uint64_t i = 0; i < 200; ++i) {
    std::vector<std::byte> payload(random() % 3000);
    for (auto& b : payload) b = static_cast<std::byte>(random());
    const auto one = frame(i, payload);
    stream.insert(stream.end(), one.begin(), one.end());
    payloads.push_back(std::move(payload));
  }
  FrameDecoder decoder;
  std::size_t seen = 0;
  for (std::size_t at = 0; at < stream.size();) {
    const std::size_t size = std::min<std::size_t>(1 + random() % 700, stream.size() - at);
    std::span<const std::byte> input{stream.data() + at, size};
    at += size;
    for (;;) {
      auto next = decoder.next(input);
      ASSERT_TRUE(next.has_value()) << next.error().text();
      if (!next->has_value()) break;
      ASSERT_LT(seen, payloads.size());
      EXPECT_EQ((*next)->header.sequence, seen);
      EXPECT_TRUE(std::ranges::equal((*next)->payload.bytes(), payloads[seen]));
      ++seen;
    }
    EXPECT_TRUE(input.empty());
  }
  EXPECT_EQ(seen, payloads.size());
  EXPECT_TRUE(decoder.at_boundary());
}

TEST(FrameDecoder, EmptyPayloadIsAFrame) {
  const auto stream = frame(0, {});
  std::span<const std::byte> input{stream};
  FrameDecoder decoder;
  auto next = decoder.next(input);
  ASSERT_TRUE(next.has_value() && next->has_value());
  EXPECT_TRUE((*next)->payload.empty());
}

TEST(FrameDecoder, NamesGarbageByWhatItSaw) {
  const auto error = error_of(bytes_of("GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n"));
  EXPECT_EQ(error.kind, Errc::corrupt);
  EXPECT_THAT(error.what, HasSubstr("GET / HT"));
}

TEST(FrameDecoder, RefusesAnotherVersion) {
  auto stream = frame(0, {});
  stream[4] = std::byte{9};
  const auto error = error_of(stream);
  EXPECT_EQ(error.kind, Errc::incompatible);
  EXPECT_THAT(error.what, HasSubstr("version 9"));
}

TEST(FrameDecoder, RefusesEveryFlippedBit) {
  const auto good = frame(0, bytes_of("some payload"));
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    FrameDecoder decoder;
    std::span<const std::byte> input{bad};
    const auto result = decoder.next(input);
    // A length made larger waits for more bytes; it is found out when they come. Nothing is ever delivered.
    EXPECT_FALSE(result.has_value() && result->has_value()) << "bit " << bit;
  }
}

TEST(FrameDecoder, ABadChecksumSaysSoAndStaysBroken) {
  auto stream = frame(0, bytes_of("some payload"));
  stream.back() ^= std::byte{1};
  const auto good = frame(0, {});
  FrameDecoder decoder;
  std::span<const std::byte> input{stream};
  auto first = decoder.next(input);
  ASSERT_FALSE(first.has_value());
  EXPECT_THAT(first.error().what, HasSubstr("checksum"));
  input = good;
  EXPECT_FALSE(decoder.next(input).has_value());
}

TEST(FrameDecoder, RefusesAnOversizedFrameBeforeItsPayload) {
  auto stream = frame(0, {});
  wire::store(stream.data() + 12, static_cast<std::uint32_t>(frame_payload_bytes_max + 1));
  const auto error = error_of(stream);
  EXPECT_EQ(error.kind, Errc::corrupt);
  EXPECT_THAT(error.what, HasSubstr("1048577"));
}

TEST(FrameDecoder, TakesTheLargestFrameAndHonoursALowerLimit) {
  const std::vector<std::byte> payload(frame_payload_bytes_max, std::byte{0x5a});
  const auto stream = frame(0, payload);
  std::span<const std::byte> input{stream};
  FrameDecoder decoder;
  auto next = decoder.next(input);
  ASSERT_TRUE(next.has_value() && next->has_value());
  EXPECT_EQ((*next)->payload.size(), frame_payload_bytes_max);
  EXPECT_THAT(error_of(stream, FrameDecoder{1000}).what, HasSubstr("at most 1000"));
}

TEST(FrameDecoder, RefusesAGapInTheSequence) {
  const auto error = error_of(frame(1, {}));
  EXPECT_THAT(error.what, HasSubstr("expected 0, saw 1"));
}

TEST(FrameDecoder, RefusesUnknownFlagsAndANonZeroReserve) {
  EXPECT_THAT(error_of(frame(0, {}, 16, 0x8000)).what, HasSubstr("unknown flags"));
  auto stream = frame(0, {});
  stream[10] = std::byte{1};
  EXPECT_THAT(error_of(stream).what, HasSubstr("where zero must be"));
}

}  // namespace
}  // namespace remus::link
