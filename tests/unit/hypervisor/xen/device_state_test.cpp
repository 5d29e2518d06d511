#include "hypervisor/xen/device_state.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace remus;
using namespace remus::hypervisor::xen;
using Bytes = std::vector<std::byte>;

std::span<const std::byte> raw(std::string_view text) {
  return std::as_bytes(std::span{text});
}
std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A device state of a PV guest with everything a writer can put into one.
Bytes sample() {
  DeviceStateWriter writer;
  writer.clear();
  writer.begin(Section::records);
  writer.record(Libxc::x86_tsc_info, {raw("time")});
  writer.record(Libxc::shared_info, {raw("shared "), raw("information")});
  writer.end();
  writer.begin(Section::page_types);
  for (const std::uint64_t entry : {coded_pfn(5, page_type::l4 | page_type::pinned),
                                    coded_pfn(9, page_type::l1), coded_pfn(12, page_type::broken)})
    writer.append(bytes_of(entry));
  writer.end();
  writer.begin(Section::emulator_context);
  writer.append(raw("qemu"));
  writer.end();
  return {writer.bytes().begin(), writer.bytes().end()};
}

TEST(XenDeviceState, WhatWasWrittenIsRead) {
  const Bytes bytes = sample();
  EXPECT_EQ(bytes.size() % 8, 0U);
  auto state = parse_device_state(bytes);
  ASSERT_TRUE(state) << state.error().text();
  std::vector<std::string> seen;
  auto visited = visit_records(state->records, [&](const Record& record) -> Status {
    seen.push_back(std::to_string(record.type) + ":" + text(record.body));
    return {};
  });
  ASSERT_TRUE(visited);
  EXPECT_EQ(seen, (std::vector<std::string>{"8:time", "7:shared information"}));
  ASSERT_EQ(state->page_type_count(), 3U);
  EXPECT_EQ(pfn_of(state->page_type(1)), 9U);
  EXPECT_EQ(type_of(state->page_type(0)), page_type::l4 | page_type::pinned);
  EXPECT_TRUE(state->emulator_xenstore.empty());
  EXPECT_EQ(text(state->emulator_context), "qemu");
}

TEST(XenDeviceState, AWriterIsUsedAgain) {
  DeviceStateWriter writer;
  for (int round = 0; round < 2; ++round) {
    writer.clear();
    writer.begin(Section::records);
    const auto space = writer.grow(16);
    const RecordHeader header{9, 3};
    std::memset(space.data(), 0, space.size());
    std::memcpy(space.data(), &header, sizeof header);
    writer.end();
    auto state = parse_device_state(writer.bytes());
    ASSERT_TRUE(state) << state.error().text();
    EXPECT_EQ(state->records.size(), 16U);
  }
}

TEST(XenDeviceState, EveryTruncationIsNoticed) {
  const Bytes bytes = sample();
  // Where a section ends the rest is a device state, too: sections are not counted.
  std::size_t whole = 0;
  for (std::size_t length = 0; length < bytes.size(); ++length)
    if (parse_device_state(std::span{bytes}.first(length))) ++whole;
  EXPECT_EQ(whole, 3U);  // no section, the first, the first two
}

TEST(XenDeviceState, NonsenseIsRefusedWithASentence) {
  const auto error_of = [](Bytes bytes) {
    auto state = parse_device_state(bytes);
    EXPECT_FALSE(state);
    return state ? std::string{} : state.error().what;
  };
  const auto with = [](std::size_t at, std::uint8_t value) {
    Bytes bytes = sample();
    bytes.at(at) = std::byte{value};
    return bytes;
  };
  EXPECT_NE(error_of({}).find("RXENDS01"), std::string::npos);
  EXPECT_NE(error_of(with(7, '2')).find("RXENDS01"), std::string::npos);
  EXPECT_NE(error_of(with(8, 9)).find("kind 9"), std::string::npos);
  EXPECT_NE(error_of(with(8, 0)).find("kind 0"), std::string::npos);
  EXPECT_NE(error_of(with(12, 1)).find("kind"), std::string::npos);            // not zero
  EXPECT_NE(error_of(with(23, 0xff)).find("ends within"), std::string::npos);  // length
  EXPECT_NE(error_of(with(28, 0xff)).find("claims"), std::string::npos);       // first record's length
  Bytes twice = sample();
  const Bytes again = sample();
  twice.insert(twice.end(), again.begin() + 8, again.end());
  EXPECT_NE(error_of(twice).find("repeated"), std::string::npos);
}

TEST(XenDeviceState, PageTypesAreInOrderAndKnown) {
  const auto with = [](std::vector<std::uint64_t> entries) {
    DeviceStateWriter writer;
    writer.clear();
    writer.begin(Section::page_types);
    for (const std::uint64_t& entry : entries) writer.append(bytes_of(entry));
    writer.end();
    return parse_device_state(writer.bytes()).has_value();
  };
  EXPECT_TRUE(with({coded_pfn(1, page_type::l1), coded_pfn(2, page_type::absent)}));
  EXPECT_FALSE(with({coded_pfn(2, page_type::l1), coded_pfn(2, page_type::l1)}));
  EXPECT_FALSE(with({coded_pfn(2, page_type::none)}));
  EXPECT_FALSE(with({coded_pfn(2, page_type::pinned)}));
  EXPECT_FALSE(with({coded_pfn(2, page_type::l1) | std::uint64_t{1} << 55}));
}

}  // namespace
