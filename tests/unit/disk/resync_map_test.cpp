// The resync map: never too few regions, whatever was cut off when.
#include "disk/resync_map.hpp"

#include <map>

#include "crash_storage.hpp"
#include "disk/mutation.hpp"
#include "support.hpp"

namespace remus::disk {
namespace {

using namespace test;

constexpr std::uint64_t map_disk_bytes = 10'000'000;
constexpr std::uint64_t map_region_bytes = 1000;  // 10,000 regions: three sectors of the file

bool covers(const std::vector<DirtyRange>& ranges, std::uint64_t offset, std::uint64_t bytes) {
  return std::ranges::any_of(ranges, [&](const DirtyRange& range) {
    return range.offset <= offset && offset + bytes <= range.offset + range.bytes;
  });
}

/// A primary's life drawn from a seed: writes, marks, news of what survives; and what must be dirty after it.
class MapRun final {
 public:
  explicit MapRun(std::uint64_t seed) : storage{seed}, random_{seed} {
    must(storage.create("map"));
    must(storage.synchronize());
  }
  void run(int steps) {
    auto created = ResyncMap::create(must(storage.open("map")), map_disk_bytes, 7, map_region_bytes);
    if (!created) return;
    map = std::move(*created);
    exists = true;
    for (int step = 0; step < steps; ++step) {
      switch (random_() % 4) {
        case 0:
        case 1: {
          const std::uint64_t offset = random_() % map_disk_bytes;
          const std::uint64_t bytes = 1 + random_() % std::min<std::uint64_t>(map_disk_bytes - offset, 3000);
          if (!map->changed(offset, bytes)) return;
          writes.insert_or_assign({offset, bytes}, marked + 1);
          break;
        }
        case 2: map->marked(++marked); break;
        default: {
          const PortionNumber upto = marked == 0 ? 0 : random_() % marked;
          survived = std::max(survived, upto);
          if (!map->survives(survived)) return;
        }
      }
    }
  }
  /// A write that does not survive and is not dirty; or nothing.
  [[nodiscard]] std::string check(const std::vector<DirtyRange>& dirty) const {
    for (const auto& [range, portion] : writes) {
      if (portion > survived && !covers(dirty, range.first, range.second))
        return "the write at " + std::to_string(range.first) + " of portion " + std::to_string(portion) +
               " is forgotten";
    }
    return {};
  }
  std::string cut_and_check() {
    map.reset();
    storage.power_cut();
    auto loaded = ResyncMap::load(must(storage.open("map")), map_disk_bytes, 7);
    if (!loaded) return exists ? "the map is lost: " + loaded.error().text() : "";
    return check((*loaded)->dirty());
  }

  sim::CrashStorage storage;
  std::unique_ptr<ResyncMap> map{};
  bool exists{};
  PortionNumber marked{};
  PortionNumber survived{};
  std::map<std::pair<std::uint64_t, std::uint64_t>, PortionNumber> writes{};

 private:
  std::mt19937_64 random_;
};

std::string search_map(std::uint64_t seeds) {
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    MapRun whole{seed};
    whole.run(60);
    if (auto wrong = whole.check(whole.map->dirty()); !wrong.empty()) return wrong;
    for (std::uint64_t step = 0; step <= whole.storage.steps(); ++step) {
      MapRun run{seed};
      run.storage.cut_at(step);
      run.run(60);
      if (auto wrong = run.cut_and_check(); !wrong.empty())
        return "seed " + std::to_string(seed) + " step " + std::to_string(step) + ": " + wrong;
    }
  }
  return {};
}

TEST(ResyncMapTest, APowerCutAtAnyStepForgetsNoWrite) {
  EXPECT_EQ(search_map(lives()), "");
}

#ifdef REMUS_FAULTS
TEST(ResyncMapTest, MutationsAreCaught) {
  for (const Mutation mutation : map_mutations) {
    active_mutation<Mutation> = mutation;
    EXPECT_NE(search_map(60), "") << to_string(mutation);
    active_mutation<Mutation> = Mutation::none;
  }
}
#endif

class ResyncMapFile : public testing::Test {
 protected:
  ResyncMapFile() : storage{1} { must(storage.create("map")); }
  std::unique_ptr<StorageFile> file() { return must(storage.open("map")); }
  std::unique_ptr<ResyncMap> create() {
    return must(ResyncMap::create(file(), map_disk_bytes, 7, map_region_bytes));
  }
  static void all_survive(ResyncMap& map, PortionNumber& number) {
    for (int i = 0; i < 3; ++i) {
      map.marked(++number);
      must(map.survives(number));
    }
  }
  sim::CrashStorage storage;
};

TEST_F(ResyncMapFile, ANewOneKnowsNothingAndRegionsThatRestBecomeClean) {
  auto map = create();
  EXPECT_EQ(map->dirty(), (std::vector<DirtyRange>{{0, map_disk_bytes}}));
  PortionNumber number = 0;
  all_survive(*map, number);
  EXPECT_TRUE(map->dirty().empty());
  must(map->changed(1999, 2));
  must(map->changed(map_disk_bytes - 1, 1));
  EXPECT_EQ(map->dirty(), (std::vector<DirtyRange>{{1000, 2000}, {map_disk_bytes - 1000, 1000}}));
  all_survive(*map, number);
  EXPECT_TRUE(map->dirty().empty());
  must(map->changed(5, 1));
  map.reset();
  EXPECT_EQ(must(ResyncMap::load(file(), map_disk_bytes, 7))->dirty(), (std::vector<DirtyRange>{{0, 1000}}));
}

TEST_F(ResyncMapFile, ARewriteOfADirtyRegionCostsNothing) {
  auto map = create();
  PortionNumber number = 0;
  all_survive(*map, number);
  must(map->changed(0, 10));
  const auto steps = storage.steps();
  for (int i = 0; i < 100; ++i) must(map->changed(500, 10));
  EXPECT_EQ(storage.steps(), steps);
}

TEST_F(ResyncMapFile, ADamagedSectorIsDirtyThroughoutADamagedHeadIsNoMap) {
  auto map = create();
  PortionNumber number = 0;
  all_survive(*map, number);
  map.reset();
  storage.damage("map", 512 + 512 + 3);
  const std::uint64_t sector = 63 * 64 * map_region_bytes;
  EXPECT_EQ(must(ResyncMap::load(file(), map_disk_bytes, 7))->dirty(),
            (std::vector<DirtyRange>{{sector, sector}}));
  storage.damage("map", 3);
  EXPECT_EQ(ResyncMap::load(file(), map_disk_bytes, 7).error().kind, Errc::corrupt);
}

TEST_F(ResyncMapFile, OneOfAnotherDiskOrReplicaIsNotTaken) {
  static_cast<void>(create());
  EXPECT_EQ(ResyncMap::load(file(), map_disk_bytes + 1, 7).error().kind, Errc::corrupt);
  EXPECT_EQ(ResyncMap::load(file(), map_disk_bytes, 8).error().kind, Errc::corrupt);
  must(file()->resize(100));
  EXPECT_EQ(ResyncMap::load(file(), map_disk_bytes, 7).error().kind, Errc::corrupt);
}

TEST_F(ResyncMapFile, AnErrorBreaksTheLogThatFeedsIt) {
  const remus::test::TempDir directory;
  auto map = create();
  WriteLog log{{map_disk_bytes}, small_pool(directory, 4, 0), map.get()};
  for (int i = 0; i < 3; ++i) must(map->survives(log.mark()));
  must(log.write(0, pattern(10, 1)));
  EXPECT_EQ(map->dirty().size(), 1U);
  EXPECT_TRUE(log.state());
  storage.fail_at(storage.steps(), Errc::io);
  EXPECT_TRUE(log.write(50'000, pattern(10, 1))) << "the guest goes on";
  EXPECT_FALSE(log.state());
}

}  // namespace
}  // namespace remus::disk
