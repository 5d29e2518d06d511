#include "hypervisor/xen/page_tables.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "hypervisor/xen/records.hpp"

namespace {

using namespace remus::hypervisor::xen;
using Table = std::array<std::uint64_t, page_table_entries>;

constexpr std::uint64_t nx = std::uint64_t{1} << 63;
constexpr std::uint64_t none = ~std::uint64_t{0};

/// Frames 100, 103 and 101 are the guest's pfns 0, 1 and 3; frame 102 is somebody else's pfn 1.
class PageTables : public testing::Test {
 protected:
  PageTables() {
    pfn_of_mfn[100] = 0;
    pfn_of_mfn[101] = 3;
    pfn_of_mfn[102] = 1;
    pfn_of_mfn[103] = 1;
  }
  bool run(std::uint64_t type) {
    return canonicalize({pfn_of_mfn, mfn_of_pfn, form}, type, table.data(), out.data());
  }

  std::vector<std::uint64_t> pfn_of_mfn = std::vector<std::uint64_t>(200, none);
  std::vector<std::uint64_t> mfn_of_pfn{100, 103, none, 101};
  PagingForm form{};
  Table table{};
  Table out{};
};

TEST_F(PageTables, PresentEntriesGetPfnsAndKeepTheirFlags) {
  table[0] = 100 << 12 | 0x67;
  table[1] = 101 << 12 | 0x25 | nx;
  table[511] = 103 << 12 | 0x1;
  ASSERT_TRUE(run(page_type::l1));
  EXPECT_EQ(out[0], 0x67U);
  EXPECT_EQ(out[1], (3U << 12 | 0x25U) | nx);
  EXPECT_EQ(out[511], 1U << 12 | 0x1U);
  EXPECT_EQ(out[2], 0U);
}

TEST_F(PageTables, AbsentEntriesAreTheGuestsOwnBusiness) {
  table[7] = 0xdeadbeefcafe000;
  ASSERT_TRUE(run(page_type::l1));
  EXPECT_EQ(out[7], 0xdeadbeefcafe000U);
}

TEST_F(PageTables, AForeignFrameIsNotTranslated) {
  for (const std::uint64_t mfn : {102U, 104U, 199U, 200U, 0xffffffffU}) {
    table[3] = mfn << 12 | 1;
    EXPECT_FALSE(run(page_type::l1)) << mfn;
  }
}

TEST_F(PageTables, SuperpagesAreRefusedWhereTheBitMeansOne) {
  table[3] = 100 << 12 | 0x81;
  EXPECT_TRUE(run(page_type::l1));  // there it is the page attribute bit
  EXPECT_FALSE(run(page_type::l1 + 1));
}

TEST_F(PageTables, XensOwnEntriesOfALevel4TableAreLeftOut) {
  table[255] = 100 << 12 | 1;
  for (std::size_t i = 256; i <= 271; ++i) table[i] = 199 << 12 | 1;
  table[272] = 103 << 12 | 1;
  ASSERT_TRUE(run(page_type::l4 | page_type::pinned));
  EXPECT_EQ(out[255], 1U);
  for (std::size_t i = 256; i <= 271; ++i) EXPECT_EQ(out[i], 0U);
  EXPECT_EQ(out[272], 1U << 12 | 1U);
  EXPECT_FALSE(run(page_type::l1));  // other levels have none
}

/// A 32-bit guest: the table of frames that Xen shows it begins with frame 150.
class PageTablesOf32Bits : public PageTables {
 protected:
  static constexpr std::size_t compat_first = 428;  // 0xf5800000
  PageTablesOf32Bits() { form = {.levels = 3, .compat_m2p_frame = 150}; }
};

TEST_F(PageTablesOf32Bits, ALevel3TableHasFourEntries) {
  for (std::size_t i = 0; i < 4; ++i) table[i] = 101 << 12 | 1;
  for (std::size_t i = 4; i < page_table_entries; ++i) table[i] = 199 << 12 | 1;
  ASSERT_TRUE(run(page_type::l3 | page_type::pinned));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(out[i], 3U << 12 | 1U);
  for (std::size_t i = 4; i < page_table_entries; ++i) EXPECT_EQ(out[i], 0U);
}

TEST_F(PageTablesOf32Bits, XensEntriesAreInTheLevel2TableThatMapsItsTableOfFrames) {
  table[compat_first - 1] = 103 << 12 | 1;
  table[compat_first] = 150 << 12 | 0xe3;
  for (std::size_t i = compat_first + 1; i < page_table_entries; ++i) table[i] = 199 << 12 | 1;
  ASSERT_TRUE(run(page_type::l2));
  EXPECT_EQ(out[compat_first - 1], 1U << 12 | 1U);
  for (std::size_t i = compat_first; i < page_table_entries; ++i) EXPECT_EQ(out[i], 0U);
}

TEST_F(PageTablesOf32Bits, OtherLevel2TablesAreTheGuestsAltogether) {
  table[compat_first] = 100 << 12 | 1;
  table[511] = 101 << 12 | 1;
  ASSERT_TRUE(run(page_type::l2));
  EXPECT_EQ(out[compat_first], 1U);
  EXPECT_EQ(out[511], 3U << 12 | 1U);
  table[511] = 199 << 12 | 1;
  EXPECT_FALSE(run(page_type::l2));
}

TEST_F(PageTablesOf32Bits, ThereIsNoLevel4) {
  EXPECT_FALSE(run(page_type::l4));
}

}  // namespace
