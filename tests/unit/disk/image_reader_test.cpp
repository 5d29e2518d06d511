#include "disk/image_reader.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <unordered_map>
#include <vector>

#include "../temp_dir.hpp"

namespace {

using namespace remus;
using namespace remus::disk;

/// A disk of what it is given; checks that each ticket ends once.
class Model final : public CopySink {
 public:
  explicit Model(std::size_t bytes) : content(bytes, std::byte{0xee}) {}

  Ticket begin(std::uint64_t offset, std::uint64_t bytes) override {
    EXPECT_TRUE(offset % align == 0 || offset == first) << offset;
    open_[++last_] = {offset, bytes};
    return last_;
  }
  Status finish(Ticket ticket, std::span<const std::byte> data) override {
    const auto at = open_.extract(ticket).mapped();
    EXPECT_EQ(at.bytes, data.size());
    std::ranges::copy(data, content.begin() + static_cast<std::ptrdiff_t>(at.offset));
    return {};
  }
  Status finish_zero(Ticket ticket) override {
    const auto at = open_.extract(ticket).mapped();
    std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(at.offset), at.bytes, std::byte{0});
    zero_bytes += at.bytes;
    return {};
  }
  void abandon(Ticket ticket) override { open_.erase(ticket); }
  [[nodiscard]] bool settled() const { return open_.empty(); }

  std::vector<std::byte> content;
  std::uint64_t zero_bytes{};
  std::uint64_t align{1};
  std::uint64_t first{};

 private:
  std::unordered_map<Ticket, CopyRange> open_{};
  Ticket last_{};
};

struct ImageReaderTest : ::testing::Test {
  static constexpr std::size_t bytes = (5U << 20U) + 512;
  remus::test::TempDir dir{};
  std::filesystem::path image{dir.path() / "disk.raw"};
  std::vector<std::byte> truth = std::vector<std::byte>(bytes);
  std::atomic<std::uint64_t> rate{0};

  /// Data at these places, holes elsewhere.
  void make(std::initializer_list<CopyRange> data) {
    const Fd file{::open(image.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    ASSERT_EQ(::ftruncate(file.get(), bytes), 0);
    std::mt19937_64 chance{7};
    for (const CopyRange& range : data) {
      for (std::uint64_t i = 0; i < range.bytes; ++i)
        truth[range.offset + i] = static_cast<std::byte>(chance() | 1U);
      ASSERT_EQ(::pwrite(file.get(), &truth[range.offset], range.bytes, static_cast<off_t>(range.offset)),
                static_cast<ssize_t>(range.bytes));
    }
  }
  Status copy(std::vector<CopyRange> ranges, Model& to, std::uint64_t align = 1) {
    auto reader = ImageReader::open(image, bytes);
    if (!reader) return std::unexpected(reader.error());
    to.align = align;
    to.first = ranges.front().offset;
    return (*reader)->copy(ranges, to, {.bytes_per_s = rate, .align_bytes = align});
  }
};

TEST_F(ImageReaderTest, EverythingIsCopiedAndHolesAsSuch) {
  make({{0, 100}, {1U << 20U, 300'000}, {bytes - 512, 512}});
  for (const std::uint64_t align : {1U, 4096U, 65536U}) {
    Model to{bytes};
    const Status done = copy({{0, bytes}}, to, align);
    ASSERT_TRUE(done) << done.error().text();
    EXPECT_EQ(to.content, truth) << align;
    EXPECT_TRUE(to.settled());
    EXPECT_GE(to.zero_bytes, 3U << 20U);
  }
}

TEST_F(ImageReaderTest, RangesOfAnyAlignment) {
  make({{4096, 2U << 20U}});
  Model to{bytes};
  ASSERT_TRUE(copy({{4000, 1'100'003}, {bytes - 700, 700}}, to));
  EXPECT_TRUE(std::ranges::equal(std::span{to.content}.subspan(4000, 1'100'003),
                                 std::span{truth}.subspan(4000, 1'100'003)));
  EXPECT_EQ(to.content[3999], std::byte{0xee});
  EXPECT_EQ(to.content[4000 + 1'100'003], std::byte{0xee});
  EXPECT_EQ(to.content[bytes - 700], std::byte{0});
}

TEST_F(ImageReaderTest, WhatTheFileLacksOfTheDiskIsZeros) {
  make({{0, 4096}});
  std::filesystem::resize_file(image, 5000);
  Model to{bytes};
  ASSERT_TRUE(copy({{0, bytes}}, to));
  EXPECT_EQ(to.content, truth);
}

TEST_F(ImageReaderTest, ARangeBeyondTheDiskAndAMissingImageAreErrors) {
  make({});
  Model to{bytes};
  const Status beyond = copy({{bytes - 1, 2}}, to);
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().kind, Errc::invalid);
  std::filesystem::remove(image);
  const Status missing = copy({{0, 1}}, to);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().what.find("disk.raw"), std::string::npos);
}

TEST_F(ImageReaderTest, AskedToStopItStops) {
  make({{0, 1U << 20U}});
  auto reader = ImageReader::open(image, bytes);
  ASSERT_TRUE(reader);
  Model to{bytes};
  std::stop_source stop;
  stop.request_stop();
  const std::vector<CopyRange> all{{0, bytes}};
  const Status done = (*reader)->copy(all, to, {.bytes_per_s = rate, .stop = stop.get_token()});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, Errc::closed);
  EXPECT_TRUE(to.settled());
}

}  // namespace
