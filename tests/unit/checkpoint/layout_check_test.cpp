#include "checkpoint/layout_check.hpp"

#include "support.hpp"

namespace remus::checkpoint {
namespace {

void expect_corrupt(const Layout& layout) {
  const auto checked = check(layout);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, Errc::corrupt);
}

TEST(LayoutCheck, OrdinaryLayoutsPass) {
  EXPECT_TRUE(check(test::two_blocks(100, 4)));
  EXPECT_TRUE(check(test::two_blocks(1, 0)));
}

TEST(LayoutCheck, EachFaultIsFound) {
  expect_corrupt({});
  expect_corrupt(test::two_blocks(0, 0));

  auto layout = test::two_blocks(3, 4);
  layout.blocks[1].name = "ram";
  expect_corrupt(layout);
  layout = test::two_blocks(3, 4);
  layout.blocks[1].name.clear();
  expect_corrupt(layout);
  layout.blocks[1].name.assign(256, 'x');
  expect_corrupt(layout);
  layout = test::two_blocks(3, 4);
  layout.blocks[1].first_page = 2;  // overlaps
  expect_corrupt(layout);
  layout.blocks[1].first_page = 4;  // leaves a gap
  expect_corrupt(layout);
  layout = test::two_blocks(3, 4);
  layout.blocks[1].bytes += 1;
  expect_corrupt(layout);
  layout = test::two_blocks(3, 4);
  layout.blocks[1].bytes = std::uint64_t{1} << 63;
  expect_corrupt(layout);

  Layout many;
  for (std::size_t i = 0; i < layout_blocks_max; ++i) many.add("b" + std::to_string(i), page_bytes);
  EXPECT_TRUE(check(many).has_value());
  many.add("one too many", page_bytes);
  const auto refused = check(many);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, Errc::unsupported);
  EXPECT_NE(refused.error().what.find("1025 blocks, and at most 1024"), std::string::npos)
      << refused.error().what;
  EXPECT_FALSE(refused.error().fix.empty());
}

}  // namespace
}  // namespace remus::checkpoint
