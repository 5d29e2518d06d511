#include "checkpoint/epoch_buffer.hpp"

#include "base/assert.hpp"
#include "checkpoint/blackhole_sink.hpp"
#include "support.hpp"

namespace remus::checkpoint {
namespace {

using test::Random;

class EpochBufferTest : public ::testing::Test {
 protected:
  const std::byte* put(PageIndex index, std::byte fill) {
    auto space = buffer->space(page_bytes);
    std::memset(space.data(), std::to_integer<int>(fill), page_bytes);
    buffer->advance(page_bytes);
    buffer->page(index, space.data());
    return space.data();
  }

  Layout layout = test::two_blocks(60, 40);
  std::unique_ptr<EpochBuffer> buffer =
      EpochBuffer::create(layout, {.keep_bytes = 4 * page_bytes, .slack_bytes = 1UL << 20}).value();
};

TEST_F(EpochBufferTest, HoldsWhatWasCaptured) {
  buffer->layout(layout);
  int pauses = 0;
  buffer->on_paused([&] { ++pauses; });
  EXPECT_FALSE(buffer->was_paused());
  buffer->paused();
  EXPECT_EQ(pauses, 1);
  EXPECT_TRUE(buffer->was_paused());

  put(3, std::byte{3});
  buffer->zero_page(7);
  put(99, std::byte{9});
  auto space = buffer->space(1000);
  std::memset(space.data(), 0x55, 1000);
  buffer->device_state(space.first(1000));
  buffer->advance(1000);

  ASSERT_EQ(buffer->records().size(), 3U);
  EXPECT_EQ(buffer->records()[0].index, 3U);
  EXPECT_EQ(buffer->records()[0].data[page_bytes - 1], std::byte{3});
  EXPECT_EQ(buffer->records()[1].data, nullptr);
  EXPECT_EQ(buffer->records()[2].index, 99U);
  EXPECT_EQ(buffer->pages(), 3U);
  EXPECT_EQ(buffer->zero_pages(), 1U);
  EXPECT_EQ(buffer->device_state().size(), 1000U);
  EXPECT_EQ(buffer->device_state()[999], std::byte{0x55});
  EXPECT_EQ(buffer->raw_bytes(), 3 * page_bytes + 1000);
  EXPECT_EQ(buffer->used_bytes(), 2 * page_bytes + 1000);
}

TEST_F(EpochBufferTest, OfAPageCapturedTwiceTheLastCounts) {
  put(5, std::byte{1});
  put(6, std::byte{6});
  const std::byte* last = put(5, std::byte{2});
  ASSERT_EQ(buffer->pages(), 2U);
  EXPECT_EQ(buffer->records()[0].data, last);

  buffer->zero_page(5);
  EXPECT_EQ(buffer->zero_pages(), 1U);
  EXPECT_EQ(buffer->records()[0].data, nullptr);
  buffer->zero_page(5);
  EXPECT_EQ(buffer->zero_pages(), 1U);
  put(5, std::byte{4});
  EXPECT_EQ(buffer->zero_pages(), 0U);
  EXPECT_EQ(buffer->pages(), 2U);
}

TEST_F(EpochBufferTest, MemoryStaysWhereItIs) {
  std::vector<const std::byte*> at;
  for (PageIndex i = 0; i < 100; ++i) at.push_back(put(i, static_cast<std::byte>(i)));
  for (PageIndex i = 0; i < 100; ++i) {
    EXPECT_EQ(buffer->records()[i].data, at[i]);
    EXPECT_EQ(at[i][123], static_cast<std::byte>(i));
  }
}

TEST_F(EpochBufferTest, RecycledIsEmptyAndHoldsTheNextEpoch) {
  for (PageIndex i = 0; i < 100; ++i) put(i, std::byte{0xee});
  buffer->paused();
  buffer->recycle(8);
  EXPECT_EQ(buffer->epoch(), 8U);
  EXPECT_EQ(buffer->pages(), 0U);
  EXPECT_EQ(buffer->used_bytes(), 0U);
  EXPECT_TRUE(buffer->device_state().empty());
  EXPECT_FALSE(buffer->was_paused());
  // The kept part still holds old bytes, what lies beyond was given back.
  const auto space = buffer->space(100 * page_bytes);
  EXPECT_EQ(space[4 * page_bytes - 1], std::byte{0xee});
  EXPECT_EQ(space[4 * page_bytes], std::byte{0});
  put(50, std::byte{1});
  ASSERT_EQ(buffer->pages(), 1U);
  EXPECT_EQ(buffer->records()[0].index, 50U);
}

TEST_F(EpochBufferTest, BeyondItsBoundSpaceIsEmpty) {
  const std::size_t bound = 2 * layout.pages() * page_bytes + (1UL << 20);
  EXPECT_GE(buffer->space(bound).size(), bound);
  buffer->advance(bound - 10);
  EXPECT_GE(buffer->space(10).size(), 10U);
  EXPECT_TRUE(buffer->space(page_bytes + 11).empty());
}

TEST_F(EpochBufferTest, PrefaultLeavesContentAlone) {
  put(1, std::byte{0x77});
  buffer->prefault(8 * page_bytes);
  buffer->prefault(~std::size_t{0});
  EXPECT_EQ(buffer->records()[0].data[77], std::byte{0x77});
}

TEST_F(EpochBufferTest, PageOutsideTheLayoutIsABrokenPrecondition) {
  set_assert_handler(&test::throw_violation);
  EXPECT_THROW(buffer->zero_page(100), test::Violation);
  EXPECT_THROW(buffer->layout(test::two_blocks(1, 1)), test::Violation);
  EXPECT_THROW(buffer->advance(~std::size_t{0}), test::Violation);
  set_assert_handler(nullptr);
}

TEST(BlackholeSink, CountsAndKeepsMemoryBounded) {
  BlackholeSink sink;
  sink.layout(test::two_blocks(10, 10));
  int pauses = 0;
  sink.on_paused([&] { ++pauses; });
  sink.paused();
  for (int i = 0; i < 50000; ++i) {
    auto space = sink.space(page_bytes);
    ASSERT_GE(space.size(), page_bytes);
    space[page_bytes - 1] = std::byte{1};
    sink.advance(page_bytes);
    sink.page(static_cast<PageIndex>(i % 20), space.data());
  }
  EXPECT_GE(sink.space(100UL << 20).size(), 100UL << 20);
  sink.zero_page(3);
  EXPECT_EQ(pauses, 1);
  EXPECT_EQ(sink.pages(), 50000U);
  EXPECT_EQ(sink.zero_pages(), 1U);
  EXPECT_EQ(sink.bytes(), 50000 * page_bytes);
  EXPECT_EQ(sink.pages_total(), 20U);
}

}  // namespace
}  // namespace remus::checkpoint
