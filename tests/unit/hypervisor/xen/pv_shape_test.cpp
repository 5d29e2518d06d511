#include "hypervisor/xen/pv_shape.hpp"

#include <gtest/gtest.h>

#include <array>

namespace {

using namespace remus::hypervisor::xen;

constexpr PvShape wide{8};
constexpr PvShape narrow{4};

TEST(PvShape, WidthDecidesTheRest) {
  EXPECT_EQ(wide.levels(), 4U);
  EXPECT_EQ(wide.frames_a_page(), 512U);
  EXPECT_EQ(narrow.levels(), 3U);
  EXPECT_EQ(narrow.frames_a_page(), 1024U);
}

TEST(PvShape, FramesAreReadAsTheGuestWroteThem) {
  const std::array<std::uint64_t, 2> of_64{0x123456789a, ~std::uint64_t{0}};
  EXPECT_EQ(wide.frame_at(of_64.data(), 0), 0x123456789aU);
  EXPECT_EQ(wide.frame_at(of_64.data(), 1), ~std::uint64_t{0});
  const std::array<std::uint32_t, 3> of_32{7, 0x80000001, ~std::uint32_t{0}};
  EXPECT_EQ(narrow.frame_at(of_32.data(), 0), 7U);
  EXPECT_EQ(narrow.frame_at(of_32.data(), 1), 0x80000001U);
  EXPECT_EQ(narrow.frame_at(of_32.data(), 2), ~std::uint64_t{0});  // no frame, in either width
}

TEST(PvShape, ANarrowCr3IsFolded) {
  EXPECT_EQ(wide.frame_of_cr3(0x123456000), 0x123456U);
  EXPECT_EQ(wide.cr3_of_frame(0x123456), 0x123456000U);
  EXPECT_EQ(narrow.cr3_of_frame(0x12345), 0x12345000U);
  // Beyond 4 GiB: what has no room above is below.
  EXPECT_EQ(narrow.cr3_of_frame(0xabc12345), 0x12345abcU);
  for (const std::uint64_t frame : {0x1U, 0xfffffU, 0x100000U, 0xabc12345U, 0xffffffffU})
    EXPECT_EQ(narrow.frame_of_cr3(narrow.cr3_of_frame(frame)), frame);
}

}  // namespace
