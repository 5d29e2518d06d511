// What QEMU records of a disk's changes by itself.
#include "hypervisor/qemu/change_records.hpp"
#include "real_disk.hpp"

namespace {

using namespace remus;
using namespace remus::test;
using Ranges = std::vector<hypervisor::GuestDisks::Range>;

class RealDiskRecords : public RealDisk {
 protected:
  void begin_on_the_disk() {
    start_with_drive();
    disk = the_disk();
    records.emplace(qmp_);
    records->add(disk.node);
  }
  void write(const std::string& what) { ASSERT_EQ(qemu_io(*qmp_, what), ""); }
  [[nodiscard]] std::vector<std::string> names() {
    const auto there = records->names();
    EXPECT_TRUE(there) << there.error().text();
    return there ? *there : std::vector<std::string>{};
  }
  [[nodiscard]] Ranges recorded(const std::string& name) {
    DiskExport reading{qmp_, directory_};
    const auto bitmap = records->stop(disk.node, name);
    EXPECT_TRUE(bitmap) << bitmap.error().text();
    const Status added = reading.add(disk, bitmap.value_or(""));
    EXPECT_TRUE(added) << added.error().text();
    const auto ranges = read_bitmap(reading.socket(), disk.node, bitmap.value_or(""));
    EXPECT_TRUE(ranges) << ranges.error().text();
    return ranges.value_or(Ranges{});
  }

  static constexpr std::uint64_t region = ChangeRecords::region_bytes;
  Disk disk{};
  std::optional<ChangeRecords> records{};
};

TEST_F(RealDiskRecords, HaveWhatIsWrittenSinceTheyBegan) {
  begin_on_the_disk();
  write("write -q -P 7 0 512");
  ASSERT_TRUE(records->begin("older"));
  write("write -q -P 7 5M 512");
  ASSERT_TRUE(records->begin("newer"));
  {  // whoever follows the writes makes no difference
    ModelDisk model{disk_bytes, std::byte{0}};
    const Serving serving = serve(model);
    DiskTap tap{qmp_, disk, 0};
    insert(tap);
    write("write -q -z 8M 512");
    ASSERT_TRUE(tap.remove());
  }
  EXPECT_THAT(names(), testing::UnorderedElementsAre("older", "newer"));
  EXPECT_EQ(recorded("older"), (Ranges{{region, 2 * region}}));
  EXPECT_THAT(names(), testing::ElementsAre("newer")) << "what was read records no more";
  EXPECT_EQ(recorded("newer"), (Ranges{{2 * region, region}}));
}

TEST_F(RealDiskRecords, EndWhenTheyAreToldTo) {
  begin_on_the_disk();
  const json before = graph();
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(records->begin(name));
  EXPECT_FALSE(records->begin("b")) << "there is one of that name";
  ASSERT_TRUE(records->end({"b"}));
  EXPECT_THAT(names(), testing::ElementsAre("b"));
  ASSERT_TRUE(records->end({}));
  ASSERT_TRUE(records->end({}));
  EXPECT_THAT(names(), testing::IsEmpty());
  EXPECT_EQ(graph(), before);
}

TEST_F(RealDiskRecords, OfOnlySomeOfTheDisksAreNone) {
  begin_on_the_disk();
  ASSERT_TRUE(records->begin("a"));
  records->add("no-such-node");
  EXPECT_THAT(names(), testing::IsEmpty());
  EXPECT_FALSE(records->begin("b"));
  ChangeRecords again{qmp_};
  again.add(disk.node);
  EXPECT_THAT(*again.names(), testing::ElementsAre("a")) << "of one that cannot begin nothing is left";
}

}  // namespace
