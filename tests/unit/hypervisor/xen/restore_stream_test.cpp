// The stream a waiting domain is restored from, byte for byte where Xen's restore looks.
#include "hypervisor/xen/restore_stream.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "checkpoint/layout.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor::xen;
using testing::ElementsAre;

template <typename T>
T at(std::span<const std::byte> bytes, std::size_t offset) {
  T out{};
  EXPECT_LE(offset + sizeof out, bytes.size());
  std::memcpy(&out, bytes.data() + offset, sizeof out);
  return out;
}

std::vector<std::byte> text(std::string_view chars) {
  const auto bytes = std::as_bytes(std::span{chars});
  return {bytes.begin(), bytes.end()};
}

TEST(RestoreStream, OpensWithBothHeadersAndTheStaticRecords) {
  const auto records = text("12345678");
  const auto stream = stream_opening(false, {4, 17}, records);
  ASSERT_EQ(stream.size(), 16U + 8U + 24U + 16U + records.size());
  EXPECT_EQ(std::memcmp(stream.data(), "LibxlFmt\0\0\0\2\0\0\0\0", 16), 0);
  EXPECT_EQ(at<std::uint32_t>(stream, 16), 1U);  // LIBXC_CONTEXT,
  EXPECT_EQ(at<std::uint32_t>(stream, 20), 0U);  // without a body
  EXPECT_EQ(at<std::uint64_t>(stream, 24), ~std::uint64_t{0});
  EXPECT_EQ(std::memcmp(stream.data() + 32, "XENF\0\0\0\3\0\0", 10), 0);
  EXPECT_EQ(at<std::uint32_t>(stream, 48), domain_hvm);
  EXPECT_EQ(at<std::uint16_t>(stream, 52), 12U);
  EXPECT_EQ(at<std::uint32_t>(stream, 56), 4U);
  EXPECT_EQ(at<std::uint32_t>(stream, 60), 17U);
  EXPECT_EQ(std::memcmp(stream.data() + 64, "12345678", 8), 0);
  EXPECT_EQ(at<std::uint32_t>(stream_opening(true, {4, 17}, records), 48), domain_pv);
}

TEST(RestoreStream, PageDataCountsTheContentsThatFollow) {
  const std::vector<std::uint64_t> coded{coded_pfn(5, page_type::alloc), coded_pfn(6, page_type::l1)};
  const auto head = page_data_head(coded, 1);
  ASSERT_EQ(head.size(), 8U + 8U + 16U);
  EXPECT_EQ(at<std::uint32_t>(head, 0), 1U);
  EXPECT_EQ(at<std::uint32_t>(head, 4), 8U + 16U + checkpoint::page_bytes);
  EXPECT_EQ(at<std::uint32_t>(head, 8), 2U);
  EXPECT_EQ(at<std::uint64_t>(head, 16), 0xe000'0000'0000'0005U);
  EXPECT_EQ(at<std::uint64_t>(head, 24), 0x1000'0000'0000'0006U);
}

TEST(RestoreStream, FenceIsARecordThatMayBeIgnored) {
  const auto fence = stream_fence();
  ASSERT_EQ(fence.size(), 8U);
  EXPECT_NE(at<std::uint32_t>(fence, 0) & 0x8000'0000U, 0U);
  EXPECT_EQ(at<std::uint32_t>(fence, 4), 0U);
}

TEST(RestoreStream, BoundOfThePfnsHasAFrameForEachPageOfThePrimarysTable) {
  const auto wide = p2m_bound(1023, 8);  // 512 entries a page
  EXPECT_EQ(at<std::uint32_t>(wide, 0), 3U);
  EXPECT_EQ(at<std::uint32_t>(wide, 4), 8U + 2U * 8U);
  EXPECT_EQ(at<std::uint32_t>(wide, 12), 1023U);
  EXPECT_EQ(at<std::uint32_t>(p2m_bound(1024, 8), 4), 8U + 3U * 8U);
  EXPECT_EQ(at<std::uint32_t>(p2m_bound(1023, 4), 4), 8U + 1U * 8U);  // 1024 entries a page
}

std::vector<std::uint32_t> types_in(std::span<const std::byte> stream) {
  std::vector<std::uint32_t> out;
  for (std::size_t offset = 0; offset < stream.size();) {
    out.push_back(at<std::uint32_t>(stream, offset));
    offset += 8 + padded(at<std::uint32_t>(stream, offset + 4));
  }
  return out;
}

TEST(RestoreStream, ClosesBothStreamsAndPadsTheDeviceModelsRecords) {
  std::vector<std::byte> record(8 + 8);
  record[0] = std::byte{0x08};  // X86_TSC_INFO
  record[4] = std::byte{0x08};
  EXPECT_THAT(types_in(stream_closing({.records = record})), ElementsAre(0x08, 0x00, 0x00));
  const auto store = text("xenstore");
  const auto model = text("odd");
  const auto whole =
      stream_closing({.records = record, .emulator_xenstore = store, .emulator_context = model});
  EXPECT_THAT(types_in(whole), ElementsAre(0x08, 0x00, 0x02, 0x03, 0x00));
  EXPECT_EQ(whole.size() % 8, 0U);
}

}  // namespace
