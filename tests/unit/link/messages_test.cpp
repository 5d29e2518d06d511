#include "link/messages.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "link/wire.hpp"

namespace remus::link {
namespace {

using ::testing::HasSubstr;

Payload filled(std::size_t size) {
  return Payload::own(std::vector<std::byte>(size, std::byte{0xa5}));
}

Frame to_frame(const Outgoing& out) {
  std::vector<std::byte> payload = out.head;
  payload.insert(payload.end(), out.tail.bytes().begin(), out.tail.bytes().end());
  const auto flags = static_cast<std::uint16_t>((out.lane == Lane::bulk ? frame_flag::bulk : 0) |
                                                (out.optional ? frame_flag::optional : 0));
  return Frame{{static_cast<std::uint16_t>(out.type), flags, static_cast<std::uint32_t>(payload.size()), 0},
               Payload::own(std::move(payload))};
}

std::vector<Message> samples() {
  checkpoint::Layout layout;
  layout.add("pc.ram", 256ULL << 20);
  layout.add("vga.vram", 16ULL << 20);
  engine::Heartbeat heartbeat{5, 6, engine::Time{engine::Duration{-7}},
                              engine::Time{engine::Duration{1LL << 60}}};
  EpochEnd end{1, 2, 3, 4, 5, 6, {}};
  end.image_hash.fill(std::byte{0x77});
  end.disk_batches = 7;
  end.disk_bytes = 8;
  return {Hello{1, 3, "0.1.0", "host-a", "web1", 4, 5, 8U << 20, R"({"hypervisor":"qemu"})"},
          Welcome{1, "0.1.0", "host-b", "7.2.22", {4, engine::BackupState::stale, 9, 77}, 64U << 20, true},
          Refuse{Errc::exhausted, "no memory", "add some"},
          Goodbye{GoodbyeReason::switchover, 1, 2, 3, "planned"},
          Goodbye{GoodbyeReason::shutting_down, 1, 2, 3, ""},
          Active{1, 2, 3},
          HeartbeatMsg{heartbeat},
          Ack{1, 2, 3, 1},
          WindowUpdate{1ULL << 40},
          SessionBegin{1, 2, layout, true, 9, 4},
          SessionReady{1, true, 9},
          HashOffer{1, 100, 64, true, filled(64 * 16)},
          SyncPages{1, 2, filled(batch_bytes_max)},
          EpochBegin{1, 2, 3, 4},
          EpochPages{2, 3, filled(1000)},
          EpochDevice{2, 65536, filled(777)},
          end,
          VerifyBegin{1, 2, 3, true},
          VerifyHashes{1, 0, 2, false, filled(32)},
          VerifyResult{1, 2, 3, 9, {1, 5, 9}, "half of it", 8, 4, {{0, 512}, {63, disk_bytes_max - 512}}},
          DiskSync{1, 2, filled(batch_bytes_max)},
          DiskWrites{2, 3, filled(1000)},
          VerifyDiskHashes{1, 63, 1ULL << 20, 65536, 3, true, filled(48)},
          DiskHashesWanted{1, 63, 1ULL << 20, 65536, disk_hashes_max},
          DiskHashes{{1, 63, 1ULL << 20, 65536, 3}, DiskContent::hashed, filled(48)}};
}

TEST(Messages, EveryTypeComesBackAsItWasSent) {
  const auto all = samples();
  std::set<std::size_t> kinds;
  for (const Message& message : all) {
    kinds.insert(message.index());
    const Outgoing out = encode(message);
    EXPECT_NE(to_string(out.type), "unknown");
    const auto back = decode(to_frame(out));
    ASSERT_TRUE(back.has_value()) << back.error().text();
    ASSERT_TRUE(back->has_value());
    EXPECT_TRUE(**back == message) << to_string(out.type);
  }
  EXPECT_EQ(kinds.size(), std::variant_size_v<Message>);
}

TEST(Messages, EveryTruncationIsRefused) {
  for (const Message& message : samples()) {
    const Outgoing out = encode(message);
    for (std::size_t size = 0; size < out.head.size(); ++size) {
      Outgoing cut = out;
      cut.head.resize(size);
      cut.tail = {};
      const auto back = decode(to_frame(cut));
      ASSERT_FALSE(back.has_value()) << to_string(out.type) << " of " << size << " bytes";
      EXPECT_EQ(back.error().kind, Errc::corrupt);
      EXPECT_THAT(back.error().what, HasSubstr(std::string{to_string(out.type)}));
    }
  }
}

TEST(Messages, TrailingBytesAreRefusedButWhereALaterVersionMayAdd) {
  for (const Message& message : samples()) {
    Outgoing out = encode(message);
    const bool opaque_to_the_end = std::holds_alternative<EpochPages>(message) ||
                                   std::holds_alternative<EpochDevice>(message) ||
                                   std::holds_alternative<DiskWrites>(message);
    if (opaque_to_the_end) continue;
    std::vector<std::byte> longer{out.tail.bytes().begin(), out.tail.bytes().end()};
    longer.push_back(std::byte{0});
    out.tail = Payload::own(std::move(longer));
    const bool extensible =
        std::holds_alternative<Hello>(message) || std::holds_alternative<Welcome>(message) ||
        std::holds_alternative<Refuse>(message) || std::holds_alternative<Goodbye>(message);
    EXPECT_EQ(decode(to_frame(out)).has_value(), extensible) << to_string(out.type);
  }
}

TEST(Messages, OpaqueDataIsSharedNotCopied) {
  const Payload data = filled(4096);
  EXPECT_EQ(encode(EpochPages{1, 0, data}).tail.bytes().data(), data.bytes().data());
  const Frame frame = to_frame(encode(EpochPages{1, 0, data}));
  const auto back = decode(frame);
  ASSERT_TRUE(back.has_value() && back->has_value());
  const auto* pages = std::get_if<EpochPages>(&**back);
  ASSERT_NE(pages, nullptr);
  EXPECT_EQ(pages->data.bytes().data(), frame.payload.bytes().data() + 12);
}

TEST(Messages, OpaqueDataOutlivesItsFrame) {
  std::optional<Message> kept;
  {
    const Frame frame = to_frame(encode(EpochPages{1, 0, filled(100)}));
    auto back = decode(frame);
    ASSERT_TRUE(back.has_value());
    kept = std::move(*back);
  }
  EXPECT_EQ(std::get<EpochPages>(*kept).data, filled(100));
}

TEST(Messages, UnknownTypesAreSkippedOnlyWhenTheirSenderAllows) {
  Frame frame{{0x7f01, frame_flag::optional, 3, 0}, filled(3)};
  const auto skipped = decode(frame);
  ASSERT_TRUE(skipped.has_value());
  EXPECT_FALSE(skipped->has_value());
  frame.header.flags = 0;
  const auto refused = decode(frame);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, Errc::incompatible);
  EXPECT_THAT(refused.error().what, HasSubstr("32513"));
}

TEST(Messages, HashesMustMatchTheirPageCount) {
  EXPECT_FALSE(decode(to_frame(encode(HashOffer{1, 0, 3, true, filled(32)}))).has_value());
  EXPECT_FALSE(decode(to_frame(encode(HashOffer{1, 0xffffffff, 2, true, filled(32)}))).has_value());
}

TEST(Messages, HashesOfADiskAreOfWholeBlocksWithinIt) {
  const auto taken = [](const VerifyDiskHashes& message) {
    return decode(to_frame(encode(message))).has_value();
  };
  EXPECT_TRUE(taken({1, 0, 0, 512, 2, true, filled(32)}));
  EXPECT_TRUE(taken({1, 0, 0, 65536, 0, true, {}})) << "a guest whose disks are empty";
  EXPECT_TRUE(taken({1, 0, disk_bytes_max - 65536, 65536, 1, true, filled(16)}));
  EXPECT_FALSE(taken({1, 0, disk_bytes_max - 65536, 65536, 2, true, filled(32)}))
      << "beyond the largest disk";
  EXPECT_FALSE(taken({1, 0, 0ULL - 65536, 65536, 2, true, filled(32)})) << "around the end of the numbers";
  EXPECT_FALSE(taken({1, disks_max, 0, 65536, 2, true, filled(32)}));
  EXPECT_FALSE(taken({1, 0, 512, 1024, 2, true, filled(32)}));
  EXPECT_FALSE(taken({1, 0, 0, 0, 2, true, filled(32)}));
  EXPECT_FALSE(taken({1, 0, 0, 256, 2, true, filled(32)}));
  EXPECT_FALSE(taken({1, 0, 0, 1536, 2, true, filled(32)}));
  EXPECT_FALSE(taken({1, 0, 0, 2 * disk_block_bytes_max, 2, true, filled(32)}));
  EXPECT_FALSE(taken({1, 0, 0, 65536, 3, true, filled(32)}));
}

TEST(Messages, WhatAReplicaHoldsIsToldOfWholeBlocksWithinADisk) {
  const auto taken = [](const auto& message) { return decode(to_frame(encode(message))).has_value(); };
  EXPECT_TRUE(taken(DiskHashesWanted{1, 0, disk_bytes_max - 65536, 65536, 1}));
  EXPECT_FALSE(taken(DiskHashesWanted{1, 0, disk_bytes_max - 65536, 65536, 2})) << "beyond the largest disk";
  EXPECT_FALSE(taken(DiskHashesWanted{1, 0, 0ULL - 65536, 65536, 2})) << "around the end of the numbers";
  EXPECT_FALSE(taken(DiskHashesWanted{1, 0, 0, 65536, 0})) << "nothing is asked for";
  EXPECT_FALSE(taken(DiskHashesWanted{1, 0, 0, 65536, disk_hashes_max + 1})) << "more than one answer holds";
  EXPECT_FALSE(taken(DiskHashesWanted{1, disks_max, 0, 65536, 1}));
  EXPECT_FALSE(taken(DiskHashesWanted{1, 0, 512, 1024, 1}));
  const DiskHashesWanted of{1, 0, 0, 512, 2};
  EXPECT_TRUE(taken(DiskHashes{of, DiskContent::hashed, filled(32)}));
  EXPECT_TRUE(taken(DiskHashes{of, DiskContent::zero, {}}));
  EXPECT_TRUE(taken(DiskHashes{of, DiskContent::unknown, {}}));
  EXPECT_FALSE(taken(DiskHashes{of, DiskContent::hashed, filled(16)}));
  EXPECT_FALSE(taken(DiskHashes{of, DiskContent::zero, filled(32)}));
  EXPECT_FALSE(taken(DiskHashes{of, static_cast<DiskContent>(3), {}}));
}

TEST(Messages, DifferingBlocksAreBoundedAndOfADiskThatCanBe) {
  VerifyResult result{.id = 1, .differing_blocks = differing_disk_blocks_max};
  result.differing_disk_blocks.resize(differing_disk_blocks_max);
  const Outgoing longest = encode(result);
  EXPECT_TRUE(decode(to_frame(longest)).has_value());

  // The count is the last field before the blocks.
  Outgoing longer = longest;
  const std::size_t count_at = longer.head.size() - differing_disk_blocks_max * 10 - 4;
  wire::store(longer.head.data() + count_at, static_cast<std::uint32_t>(differing_disk_blocks_max + 1));
  wire::store(longer.head.data() + count_at - 8, std::uint64_t{differing_disk_blocks_max + 1});
  longer.head.resize(longer.head.size() + 10);
  EXPECT_FALSE(decode(to_frame(longer)).has_value());

  result.differing_blocks = differing_disk_blocks_max - 1;
  EXPECT_FALSE(decode(to_frame(encode(result))).has_value()) << "lists more than there are";
  result = {.differing_blocks = 1, .differing_disk_blocks = {{disks_max, 0}}};
  EXPECT_FALSE(decode(to_frame(encode(result))).has_value());
  result = {.differing_blocks = 1, .differing_disk_blocks = {{0, disk_bytes_max}}};
  EXPECT_FALSE(decode(to_frame(encode(result))).has_value());
}

TEST(Messages, ALayoutMustBeWholePagesAndNumberable) {
  const auto encode_blocks = [](std::initializer_list<std::uint64_t> sizes) {
    wire::Writer w;
    w.put(std::uint64_t{1});
    w.put(std::uint64_t{2});
    w.put_bool(false);
    w.put(std::uint64_t{0});
    w.put(std::uint64_t{0});
    w.put(static_cast<std::uint32_t>(sizes.size()));
    for (const auto size : sizes) {
      w.put_string("ram");
      w.put(size);
    }
    return Frame{{static_cast<std::uint16_t>(MessageType::session_begin), frame_flag::bulk, 0, 0},
                 Payload::own(std::move(w).take())};
  };
  EXPECT_TRUE(decode(encode_blocks({4096, 8192})).has_value());
  EXPECT_FALSE(decode(encode_blocks({4097})).has_value());
  EXPECT_FALSE(decode(encode_blocks({1ULL << 44, 4096})).has_value());
}

TEST(Messages, SentencesAreCutNotRefused) {
  const auto back = decode(to_frame(encode(Refuse{Errc::io, std::string(100'000, 'x'), ""})));
  ASSERT_TRUE(back.has_value() && back->has_value());
  EXPECT_EQ(std::get<Refuse>(**back).what.size(), text_bytes_max);
}

TEST(Messages, ASwitchoverDoesNotOvertakeItsLastEpoch) {
  EXPECT_EQ(lane_of(Goodbye{GoodbyeReason::switchover, 1, 2, 3, ""}), Lane::bulk);
  EXPECT_EQ(lane_of(Goodbye{GoodbyeReason::unprotected, 1, 2, 3, ""}), Lane::control);
}

TEST(Version, TheHighestBothSpeakIsChosen) {
  Hello hello;
  hello.version_min = 1;
  hello.version_max = 99;
  EXPECT_EQ(negotiate_version(hello).value_or(0), protocol_version_max);
}

TEST(Version, NoCommonVersionNamesBothRanges) {
  Hello hello;
  hello.version_min = hello.version_max = protocol_version_max + 1;
  const auto none = negotiate_version(hello);
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().kind, Errc::incompatible);
  EXPECT_THAT(none.error().what, HasSubstr("versions 2 to 2"));
}

}  // namespace
}  // namespace remus::link
