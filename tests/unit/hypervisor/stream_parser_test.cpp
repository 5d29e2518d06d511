#include "hypervisor/qemu/stream_parser.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>

#include "stream_builder.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor::qemu;
using remus::test::MemorySource;
using remus::test::sample_checkpoint;
using remus::test::sample_initial;
using remus::test::StreamBuilder;

/// Keeps what it is told; its memory comes in pieces that never move, the smallest that satisfy the request.
class RecordingSink final : public checkpoint::CheckpointSink {
 public:
  explicit RecordingSink(std::size_t slack = 0) : slack_{slack} {}
  void layout(const checkpoint::Layout& layout) override { layouts.push_back(layout); }
  void paused() override {}
  std::span<std::byte> space(std::size_t at_least) override {
    if (full) return {};
    if (pieces_.empty() || pieces_.back().size() - used_ < at_least) {
      pieces_.emplace_back(at_least + slack_);
      used_ = 0;
    }
    return std::span{pieces_.back()}.subspan(used_);
  }
  void advance(std::size_t bytes) override {
    used_ += bytes;
    ASSERT_LE(used_, pieces_.back().size());
  }
  void page(checkpoint::PageIndex index, const std::byte* data) override { pages[index] = data; }
  void zero_page(checkpoint::PageIndex index) override { pages[index] = nullptr; }
  void device_state(std::span<const std::byte> state) override { device = state; }

  /// First byte of a page, after everything has been received: it must have stayed.
  char content(checkpoint::PageIndex index) const {
    const std::byte* data = pages.at(index);
    if (data == nullptr) return 0;
    for (std::size_t i = 1; i < checkpoint::page_bytes; ++i) EXPECT_EQ(data[i], data[0]);
    return std::to_integer<char>(data[0]);
  }

  std::vector<checkpoint::Layout> layouts{};
  std::map<checkpoint::PageIndex, const std::byte*> pages{};
  std::span<const std::byte> device{};
  bool full{false};

 private:
  std::size_t slack_;
  std::deque<std::vector<std::byte>> pieces_{};
  std::size_t used_{};
};

class StreamPieces : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, StreamPieces, testing::Values(1, 3, 4095, 4096, 4100, 1 << 20));

TEST_P(StreamPieces, InitialStreamAndCheckpointsHoweverTheyAreCut) {
  StreamParser parser;
  RecordingSink sink{GetParam()};
  const auto first = sample_initial();
  MemorySource source{first.bytes(), GetParam()};
  int paused = 0;
  StreamHooks hooks;
  hooks.paused = [&] { ++paused; };
  const auto counts = parser.initial(source, sink, hooks);
  ASSERT_TRUE(counts) << counts.error().text();
  EXPECT_EQ(paused, 1);
  EXPECT_EQ(counts->pages, 4U);
  EXPECT_EQ(counts->zero_pages, 2U);
  ASSERT_EQ(sink.layouts.size(), 1U);
  EXPECT_EQ(sink.layouts[0].pages(), 6U);
  EXPECT_EQ(sink.layouts[0].blocks[1].name, "pc.bios");
  EXPECT_EQ(sink.content(0), 'a');
  EXPECT_EQ(sink.content(1), 'b');
  EXPECT_EQ(sink.content(2), 0);
  EXPECT_EQ(sink.content(3), 'd');
  EXPECT_EQ(sink.content(4), 'X');
  EXPECT_EQ(sink.content(5), 0);
  const auto blob = parse_blob(sink.device);
  ASSERT_TRUE(blob) << blob.error().text();
  EXPECT_EQ(blob->sections.size(), 1 + 4 + 6 + 12 + 5 + 1U);
  EXPECT_EQ(blob->ram_section_id, 2U);
  EXPECT_EQ(blob->ram_version, 4U);
  EXPECT_EQ(blob->configuration.front(), std::byte{7});

  const auto second = sample_checkpoint();
  RecordingSink epoch{GetParam()};
  for (int round = 0; round < 2; ++round) {
    // The first record names no block: the last one of the stream before is meant (pc.bios, then pc.ram).
    MemorySource more{second.bytes(), GetParam()};
    const auto again = parser.checkpoint(more, epoch, {});
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ(again->pages, 2U);
    EXPECT_EQ(again->zero_pages, 1U);
    EXPECT_EQ(again->device_bytes, 10U);
    EXPECT_EQ(epoch.pages.contains(5), true);
    EXPECT_EQ(epoch.content(1), 'B');
    EXPECT_EQ(epoch.content(0), 0);
    const auto state = parse_blob(epoch.device);
    ASSERT_TRUE(state);
    EXPECT_EQ(std::memcmp(state->sections.data(), "DEVSTATE!", 10), 0);
    EXPECT_EQ(state->configuration.size(), blob->configuration.size());
  }
}

TEST(StreamParser, EveryTruncationIsAnErrorNotACrash) {
  const auto whole = sample_initial();
  for (std::size_t bytes = 0; bytes < whole.bytes().size(); ++bytes) {
    StreamParser parser;
    RecordingSink sink;
    MemorySource source{std::span{whole.bytes()}.first(bytes), 997};
    const auto counts = parser.initial(source, sink, {});
    ASSERT_FALSE(counts) << "cut at " << bytes;
    EXPECT_EQ(counts.error().kind, Errc::closed) << counts.error().text();
  }
  const auto next = sample_checkpoint();
  for (std::size_t bytes = 0; bytes < next.bytes().size(); ++bytes) {
    StreamParser parser;
    RecordingSink sink;
    MemorySource first{whole.bytes()};
    ASSERT_TRUE(parser.initial(first, sink, {}));
    MemorySource source{std::span{next.bytes()}.first(bytes)};
    ASSERT_FALSE(parser.checkpoint(source, sink, {})) << "cut at " << bytes;
  }
}

std::string complaint(const StreamBuilder& stream) {
  StreamParser parser;
  RecordingSink sink;
  MemorySource source{stream.bytes()};
  const auto counts = parser.initial(source, sink, {});
  if (counts) return "accepted";
  EXPECT_EQ(counts.error().kind, Errc::corrupt) << counts.error().text();
  return counts.error().text();
}

StreamBuilder until_blocks() {
  StreamBuilder out;
  out.head().ram_start().blocks({{"pc.ram", 8192}});
  return out;
}

using testing::Test;

TEST(StreamParser, MalformedStreamsNameOffsetAndExpectation) {
  EXPECT_NE(complaint(StreamBuilder{}.text("PNG!").be32(3)).find("byte 4: expected QEMU's magic"),
            std::string::npos);
  EXPECT_NE(complaint(StreamBuilder{}.text("QEVM").be32(2)).find("version 3"), std::string::npos);
  EXPECT_NE(complaint(StreamBuilder{}.head().u8(0x55)).find("0x55"), std::string::npos);
  EXPECT_NE(complaint(StreamBuilder{}.head().ram(2)).find("start of section 'ram'"), std::string::npos);
  EXPECT_NE(complaint(StreamBuilder{}.head().u8(1).be32(3).name("block").be32(0).be32(1)).find("'block'"),
            std::string::npos);
  EXPECT_NE(complaint(until_blocks().page(8192, 'x', "pc.ram")).find("within block 'pc.ram'"),
            std::string::npos);
  EXPECT_NE(complaint(until_blocks().page(0, 'x', "nobody")).find("'nobody'"), std::string::npos);
  EXPECT_NE(complaint(until_blocks().page(0, 'x')).find("block's name"), std::string::npos);
  EXPECT_NE(complaint(until_blocks().be64(0x40)).find("flags 0x40"), std::string::npos);
  EXPECT_NE(complaint(until_blocks().blocks({{"pc.ram", 8192}})).find("only one list"), std::string::npos);
  EXPECT_NE(complaint(until_blocks().be64(0x10).u8(0)).find("footer"), std::string::npos);
  EXPECT_NE(
      complaint(StreamBuilder{}.head().ram_start().be64(8192 | 4).name("a").be64(4095)).find("whole pages"),
      std::string::npos);
  EXPECT_NE(complaint(StreamBuilder{}.head().ram_start().be64(8192 | 4).name("a").be64(1ULL << 40))
                .find("within the total"),
            std::string::npos);
  EXPECT_NE(complaint(StreamBuilder{}.head().ram_start().be64((1ULL << 60) | 4)).find("16 TiB"),
            std::string::npos);
  EXPECT_NE(
      complaint(StreamBuilder{}.head().u8(5).name("configuration/new").be32(1)).find("configuration/new"),
      std::string::npos);
}

TEST(StreamParser, PingIsToldForTheReturnPath) {
  StreamBuilder stream;
  stream.head().command(1).command(2, std::string_view{"\0\0\0\7", 4});
  StreamParser parser;
  RecordingSink sink;
  MemorySource source{stream.bytes()};
  std::vector<std::uint32_t> pings;
  StreamHooks hooks;
  hooks.ping = [&](std::uint32_t value) { pings.push_back(value); };
  EXPECT_FALSE(parser.initial(source, sink, hooks));
  EXPECT_EQ(pings, std::vector<std::uint32_t>{7});
}

TEST(StreamParser, AFullSinkIsExhaustedNotCorrupt) {
  StreamParser parser;
  RecordingSink sink;
  sink.full = true;
  const auto stream = sample_initial();
  MemorySource source{stream.bytes()};
  const auto counts = parser.initial(source, sink, {});
  ASSERT_FALSE(counts);
  EXPECT_EQ(counts.error().kind, Errc::exhausted);
}

TEST(DeviceBlob, RefusesWhatIsNotOne) {
  EXPECT_FALSE(parse_blob({}));
  std::vector<std::byte> blob(64, std::byte{0});
  EXPECT_FALSE(parse_blob(blob));
  StreamPreamble preamble{std::vector<std::byte>(20, std::byte{9}), 2, 0, 4};
  std::vector<std::byte> good(5 + trailer_bytes(preamble));
  write_trailer(good.data() + 5, preamble);
  const auto parsed = parse_blob(good);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->sections.size(), 5U);
  EXPECT_EQ(parsed->configuration.size(), 20U);
  EXPECT_FALSE(parse_blob(std::span{good}.subspan(10)));  // the trailer reaches before the beginning
  good[4] = std::byte{1};
  EXPECT_FALSE(parse_blob(good));  // the sections do not end
}

}  // namespace
