#include "checkpoint/image.hpp"

#include "checkpoint/delta.hpp"
#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Memory;
using test::Page;
using test::Random;

class ImageTest : public ::testing::Test {
 protected:
  Layout layout = test::two_blocks(8, 4);
  Memory memory{layout};
  Image image = Image::create(layout, memory.spans(), 3).value();
};

TEST_F(ImageTest, PagesAreNumberedThroughTheBlocks) {
  Page page;
  Random{1}.fill(page);
  image.write(9, page.data());
  EXPECT_EQ(std::memcmp(memory.blocks[1].data() + page_bytes, page.data(), page_bytes), 0);
  image.write(7, page.data());
  EXPECT_EQ(std::memcmp(memory.blocks[0].data() + 7 * page_bytes, page.data(), page_bytes), 0);
  EXPECT_EQ(image.page(9).data(), memory.blocks[1].data() + page_bytes);
}

TEST_F(ImageTest, HashFollowsEveryKindOfWrite) {
  Random random{2};
  image.assume_zero();
  auto fresh = Image::create(layout, memory.spans(), 3).value();
  for (int i = 0; i < 500; ++i) {
    const auto index = static_cast<PageIndex>(random(image.pages()));
    Page page;
    random.fill(page);
    switch (random(3)) {
      case 0: image.write(index, page.data()); break;
      case 1: image.write_zero(index); break;
      default: {
        Page now;
        std::memcpy(now.data(), image.page(index).data(), page_bytes);
        page = now;
        random.touch(page, 5);
        std::vector<std::byte> delta(delta_bytes_max + delta_overrun_bytes);
        delta.resize(encode_delta(now.data(), page.data(), delta, delta_bytes_max));
        ASSERT_TRUE(image.write_delta(index, delta));
        ASSERT_EQ(std::memcmp(image.page(index).data(), page.data(), page_bytes), 0);
      }
    }
  }
  fresh.recompute();
  EXPECT_EQ(image.hash(), fresh.hash());
  EXPECT_TRUE(image.differing(fresh.table(), 100).empty());
}

TEST_F(ImageTest, BadDeltaLeavesPageAndHash) {
  image.assume_zero();
  const auto before = image.hash();
  const std::vector<std::byte> bad(5);
  const auto written = image.write_delta(0, bad);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, Errc::corrupt);
  EXPECT_EQ(image.hash(), before);
}

TEST_F(ImageTest, DifferingLooksAtRealMemory) {
  image.recompute();
  auto expected = PageHashTable::create(image.pages(), 3).value();
  expected.assume_zero();
  EXPECT_TRUE(image.differing(expected, 100).empty());
  memory.blocks[0][3 * page_bytes + 17] = std::byte{1};  // behind the image's back
  memory.blocks[1][4 * page_bytes - 1] = std::byte{1};
  EXPECT_EQ(image.differing(expected, 100), (std::vector<PageIndex>{3, 11}));
  EXPECT_EQ(image.differing(expected, 1), (std::vector<PageIndex>{3}));
  EXPECT_EQ(image.differing(4, expected.all().subspan(4, 4), 100), std::vector<PageIndex>{});
  expected.set(5, unknown_hash);
  EXPECT_EQ(image.differing(expected, 100), (std::vector<PageIndex>{3, 5, 11}));
}

TEST_F(ImageTest, ZeroIsWrittenUnlessKnown) {
  memory.blocks[0][0] = std::byte{1};  // unknown to the image
  image.write_zero(0);
  EXPECT_EQ(memory.blocks[0][0], std::byte{0});
  image.recompute();
  Page page;
  Random{4}.fill(page);
  image.write(0, page.data());
  image.write_zero(0);
  EXPECT_EQ(memory.blocks[0][0], std::byte{0});
  EXPECT_EQ(image.table().get(0), image.table().hasher().zero_page());
}

TEST_F(ImageTest, MemoryThatDoesNotFitTheLayoutIsRefused) {
  auto spans = memory.spans();
  spans.pop_back();
  EXPECT_EQ(Image::create(layout, spans).error().kind, Errc::invalid);
  spans = memory.spans();
  spans[0] = spans[0].first(7 * page_bytes);
  EXPECT_EQ(Image::create(layout, spans).error().kind, Errc::invalid);
  auto overlapping = layout;
  overlapping.blocks[1].first_page = 0;
  EXPECT_EQ(Image::create(overlapping, memory.spans()).error().kind, Errc::corrupt);
}

}  // namespace
}  // namespace remus::checkpoint
