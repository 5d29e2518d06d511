// What QEMU says of its disks, and which of them can be replicated.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hypervisor/qemu/inspect.hpp"

namespace {

using namespace remus::hypervisor::qemu;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

GuestFacts with_disks() {
  GuestFacts out;
  out.version = {7, 2, 22, ""};
  out.disks = {
      {.device = "virtio0", .file = "/img/root", .node = "#block1", .driver = "qcow2", .bytes = 1 << 30},
      {.device = "vd1", .file = "/img/data", .id = "vd1", .node = "data", .driver = "raw", .bytes = 512},
      {.device = "ide1-cd0", .file = "/img/cd", .read_only = true, .node = "#block3", .removable = true},
      {.device = "floppy0", .read_only = true, .removable = true}};
  return out;
}

std::vector<std::string> judged(const std::vector<std::string>& disks,
                                const std::function<void(GuestFacts&)>& change = {}) {
  GuestFacts facts = with_disks();
  if (change) change(facts);
  return disk_objections(facts, disks);
}

TEST(DiskFacts, QueryBlockIsUnderstood) {
  const auto disks = parse_query_block(nlohmann::json::parse(R"([
    {"device": "virtio0", "qdev": "/machine/peripheral-anon/device[0]/virtio-backend", "removable": false,
     "inserted": {"file": "/img/a", "ro": false, "node-name": "#block1", "drv": "raw", "encrypted": false,
                  "image": {"virtual-size": 4096}}},
    {"device": "", "qdev": "/machine/peripheral/vd0/virtio-backend", "removable": false,
     "inserted": {"file": "/img/b", "ro": true, "node-name": "b", "drv": "qcow2", "encrypted": true,
                  "image": {"virtual-size": 512}}},
    {"device": "", "qdev": "sd", "inserted": {"file": "/c", "ro": false, "node-name": "c", "image": {}}},
    {"device": "", "qdev": "/machine/unattached/device[1]", "inserted": {"file": "/d", "ro": false, "node-name": "d", "image": {}}},
    {"device": "floppy0", "removable": true}])"));
  ASSERT_EQ(disks.size(), 5U);
  EXPECT_EQ(disks[0].device, "virtio0");
  EXPECT_EQ(disks[0].id, "");
  EXPECT_EQ(disks[0].node, "#block1");
  EXPECT_EQ(disks[0].driver, "raw");
  EXPECT_EQ(disks[0].bytes, 4096U);
  EXPECT_FALSE(disks[0].read_only);
  EXPECT_EQ(disks[1].device, "vd0");
  EXPECT_EQ(disks[1].id, "vd0");
  EXPECT_TRUE(disks[1].read_only && disks[1].encrypted);
  EXPECT_EQ(disks[2].device, "sd");
  EXPECT_EQ(disks[3].device, "d") << "a device without a name is called by its node";
  EXPECT_TRUE(disks[4].file.empty() && disks[4].removable && disks[4].read_only);
}

TEST(DiskFacts, ADiskHasSeveralNames) {
  const GuestFacts facts = with_disks();
  EXPECT_EQ(find_disk(facts, "virtio0"), facts.disks.data());
  EXPECT_EQ(find_disk(facts, "#block1"), facts.disks.data());
  EXPECT_EQ(find_disk(facts, "data"), &facts.disks[1]);
  EXPECT_EQ(find_disk(facts, "vda"), nullptr);
  EXPECT_EQ(find_disk(facts, ""), nullptr) << "an empty name is no name";
}

TEST(DiskFacts, AllWritableDisksAreToBeNamed) {
  EXPECT_THAT(judged({"virtio0", "data"}), IsEmpty());
  EXPECT_THAT(judged({}),
              ElementsAre(HasSubstr("disk 'virtio0' (/img/root) is writable"), HasSubstr("disk 'vd1'")));
  EXPECT_THAT(judged({"vd1"}), ElementsAre(HasSubstr("disk 'virtio0' (/img/root) is writable")));
}

TEST(DiskFacts, ADiskThatTheOtherHostHasNeedsNoReplica) {
  const GuestFacts facts = with_disks();
  EXPECT_THAT(disk_objections(facts, {"virtio0"}, {"data"}), IsEmpty());
  EXPECT_THAT(disk_objections(facts, {"virtio0", "data"}, {"vd1"}), ElementsAre("disk 'vd1' is named twice"));
  EXPECT_THAT(disk_objections(facts, {"virtio0"}, {"data", "vdz"}),
              ElementsAre(HasSubstr("this guest has no disk 'vdz'")));
}

TEST(DiskFacts, WhatCannotBeReplicatedIsRefusedWithItsReason) {
  EXPECT_THAT(judged({"virtio0", "data", "vdz"}),
              ElementsAre("this guest has no disk 'vdz'; it has: virtio0, vd1"));
  EXPECT_THAT(judged({"virtio0", "data", "vd1"}), ElementsAre("disk 'vd1' is named twice"));
  EXPECT_THAT(judged({"virtio0", "data", "floppy0"}), ElementsAre("disk 'floppy0' has no medium"));
  EXPECT_THAT(judged({"virtio0", "data", "ide1-cd0"}),
              ElementsAre(HasSubstr("is read-only"), HasSubstr("is empty"), HasSubstr("could be ejected")));
  const auto both = std::vector<std::string>{"virtio0", "data"};
  EXPECT_THAT(judged(both, [](auto& f) { f.disks[0].encrypted = true; }),
              ElementsAre(HasSubstr("is encrypted")));
  EXPECT_THAT(judged(both, [](auto& f) { f.disks[1].node = "#block1"; }),
              ElementsAre(HasSubstr("no disk 'data'"), HasSubstr("is in 'vd1' as well"),
                          HasSubstr("'vd1' (/img/data) is writable")));
  EXPECT_THAT(judged({"x"}, [](auto& f) { f.disks[0].device = f.disks[1].device = "x"; }),
              testing::Contains(HasSubstr("'x' names more than one disk")));
  EXPECT_THAT(judged(both,
                     [](auto& f) {
                       f.exports = {{"e0", "vhost-user-blk", "data"}};
                     }),
              ElementsAre(HasSubstr("disk 'vd1' (/img/data) is exported to others (vhost-user-blk 'e0')")));
  EXPECT_THAT(judged(both, [](auto& f) { f.exports = {{"e0", "nbd", "another"}}; }), IsEmpty());
  EXPECT_THAT(judged(both,
                     [](auto& f) {
                       f.jobs = {{"j", "backup"}};
                     }),
              ElementsAre(HasSubstr("busy with job 'j' (backup)")));
  EXPECT_THAT(judged(both,
                     [](auto& f) {
                       f.version = {6, 2, 0, ""};
                     }),
              ElementsAre(HasSubstr("6.2.0 is too old")));
}

TEST(DiskFacts, AGuestWithoutDisksNeedsNoneOfIt) {
  EXPECT_THAT(judged({},
                     [](auto& f) {
                       f.disks.clear();
                       f.jobs = {{"j", "backup"}};
                       f.version = {6, 2, 0, ""};
                     }),
              IsEmpty());
}

TEST(DiskFacts, AVirtioDriveWithoutADeviceOptionWasThereFromTheStart) {
  GuestFacts facts = with_disks();
  facts.status = "running";
  facts.capabilities = {"x-colo"};
  facts.kvm = true;
  facts.memory = {{"pc.ram", "pc.ram", 1 << 28, 0}};
  facts.devices = {{"", "virtio-blk-pci", "/machine/peripheral-anon/device[0]"}};
  facts.argv = {"qemu", "-drive", "if=virtio,file=/img/root"};
  EXPECT_THAT(objections(facts, {"virtio0", "data"}), IsEmpty());
  facts.argv = {"qemu", "-drive", "if=none,file=/img/root"};
  EXPECT_THAT(objections(facts, {"virtio0", "data"}),
              ElementsAre(HasSubstr("a device without id was added")));
}

}  // namespace
