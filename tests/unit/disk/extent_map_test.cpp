#include "disk/extent_map.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <vector>

namespace remus::disk {
namespace {

std::vector<Extent> all(const ExtentMap& map) {
  std::vector<Extent> out;
  map.visit([&](const Extent& extent) { out.push_back(extent); });
  return out;
}

class ExtentMapTest : public testing::Test {
 protected:
  ExtentMap map{std::pmr::get_default_resource()};
};

TEST_F(ExtentMapTest, ALaterWriteCutsOutOfAnEarlierOne) {
  map.put({0, 100, WriteKind::data, 1000});
  map.put({40, 20, WriteKind::zero, 0});
  EXPECT_EQ(all(map), (std::vector<Extent>{{0, 40, WriteKind::data, 1000},
                                           {40, 20, WriteKind::zero, 0},
                                           {60, 40, WriteKind::data, 1060}}));
}

TEST_F(ExtentMapTest, ASequentialWriteIsOneExtent) {
  for (std::uint64_t i = 0; i < 8; ++i) map.put({i * 512, 512, WriteKind::data, 9000 + i * 512});
  EXPECT_EQ(all(map), (std::vector<Extent>{{0, 4096, WriteKind::data, 9000}}));
}

TEST_F(ExtentMapTest, NeighboursKeptApartAreNotJoined) {
  map.put({0, 512, WriteKind::data, 0});
  map.put({512, 512, WriteKind::data, 4096});
  map.put({1024, 512, WriteKind::trim, 0});
  map.put({1536, 512, WriteKind::zero, 0});
  EXPECT_EQ(map.size(), 4U);
}

TEST_F(ExtentMapTest, AGapThatIsFilledJoinsBothSides) {
  map.put({0, 10, WriteKind::trim, 0});
  map.put({20, 10, WriteKind::trim, 0});
  map.put({10, 10, WriteKind::trim, 0});
  EXPECT_EQ(all(map), (std::vector<Extent>{{0, 30, WriteKind::trim, 0}}));
}

TEST_F(ExtentMapTest, AWholeRangeInOnePieceIsFound) {
  map.put({100, 50, WriteKind::data, 7});
  map.put({150, 50, WriteKind::zero, 0});
  std::uint64_t place = 0;
  EXPECT_TRUE(map.find(110, 40, place));
  EXPECT_EQ(place, 17U);
  EXPECT_FALSE(map.find(110, 41, place));
  EXPECT_FALSE(map.find(99, 2, place));
  EXPECT_FALSE(map.find(150, 10, place)) << "zeros have no place";
}

/// Every byte of the map against a plain array of what was put last.
TEST_F(ExtentMapTest, AgreesWithAModelOfSingleBytes) {
  constexpr std::uint64_t disk = 200;
  std::mt19937_64 random{7};
  for (int round = 0; round < 300; ++round) {
    map.clear();
    std::vector<std::optional<std::pair<WriteKind, std::uint64_t>>> model(disk);
    std::uint64_t place = 0;
    for (int step = 0; step < 40; ++step) {
      const std::uint64_t offset = random() % disk;
      const std::uint64_t bytes = 1 + random() % std::min<std::uint64_t>(disk - offset, 40);
      const auto kind = static_cast<WriteKind>(random() % 4);
      map.put({offset, bytes, kind, kind == WriteKind::data ? place : 0});
      for (std::uint64_t i = 0; i < bytes; ++i)
        model[offset + i] = {kind, kind == WriteKind::data ? place + i : 0};
      if (kind == WriteKind::data) place += bytes;
    }
    std::vector<std::optional<std::pair<WriteKind, std::uint64_t>>> seen(disk);
    std::uint64_t behind = 0;
    map.visit([&](const Extent& extent) {
      ASSERT_GE(extent.offset, behind);
      behind = extent.offset + extent.bytes;
      for (std::uint64_t i = 0; i < extent.bytes; ++i)
        seen[extent.offset + i] = {extent.kind, extent.kind == WriteKind::data ? extent.place + i : 0};
    });
    ASSERT_EQ(seen, model) << "round " << round;
  }
}

}  // namespace
}  // namespace remus::disk
