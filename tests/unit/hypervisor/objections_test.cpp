#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hypervisor/qemu/inspect.hpp"

namespace {

using namespace remus::hypervisor::qemu;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

GuestFacts good() {
  GuestFacts out;
  out.version = {7, 2, 22, ""};
  out.machine = "pc-i440fx-7.2";
  out.status = "running";
  out.capabilities = {"xbzrle", "x-colo", "x-ignore-shared"};
  out.kvm = true;
  out.memory = {{"pc.ram", "pc.ram", 1 << 28, 0}};
  out.netdevs = {{"n0", "tap", "tap0", "br0"}};
  out.devices = {{"net0", "virtio-net-pci", "/machine/peripheral/net0"}};
  out.argv = {"qemu", "-netdev", "tap,id=n0,ifname=tap0", "-device", "virtio-net-pci,netdev=n0,id=net0"};
  return out;
}

template <typename Change>
std::vector<std::string> after(Change change) {
  GuestFacts facts = good();
  change(facts);
  return objections(facts);
}

TEST(Objections, AnOrdinaryGuestHasNone) {
  EXPECT_THAT(objections(good()), IsEmpty());
}

TEST(Objections, State) {
  EXPECT_THAT(after([](auto& f) { f.status = "paused"; }), ElementsAre(HasSubstr("resume it first")));
  EXPECT_THAT(after([](auto& f) { f.status = "inmigrate"; }), ElementsAre(HasSubstr("incoming migration")));
  EXPECT_THAT(after([](auto& f) { f.status = "postmigrate"; }), ElementsAre(HasSubstr("'postmigrate'")));
  for (const char* state : {"active", "setup", "colo", "postcopy-active", "cancelling"})
    EXPECT_THAT(after([&](auto& f) { f.migration = state; }), ElementsAre(HasSubstr("under way"))) << state;
  for (const char* state : {"completed", "failed", "cancelled", "none", ""})
    EXPECT_THAT(after([&](auto& f) { f.migration = state; }), IsEmpty()) << state;
  EXPECT_THAT(after([](auto& f) { f.migration_blockers = {"9p mounted"}; }),
              ElementsAre(HasSubstr("9p mounted")));
}

TEST(Objections, QemuItself) {
  EXPECT_THAT(after([](auto& f) { f.capabilities = {"xbzrle"}; }), ElementsAre(HasSubstr("without COLO")));
  EXPECT_THAT(after([](auto& f) { f.version = {4, 2, 0, ""}; }), ElementsAre(HasSubstr("too old")));
  EXPECT_THAT(after([](auto& f) { f.kvm = false; }), ElementsAre(HasSubstr("TCG")));
  EXPECT_THAT(after([](auto& f) { f.kvm = false, f.tcg_shim = true; }), IsEmpty());
  EXPECT_THAT(after([](auto& f) { f.kvm = false, f.version = {11, 1, 0, ""}; }), IsEmpty());
}

TEST(Objections, DevicesAndDisks) {
  EXPECT_THAT(after([](auto& f) {
                f.devices.push_back({"gpu", "vfio-pci", "/machine/peripheral/gpu"});
                f.argv.insert(f.argv.end(), {"-device", "vfio-pci,host=01:00.0,id=gpu"});
              }),
              ElementsAre(HasSubstr("'gpu' (vfio-pci)")));
  EXPECT_THAT(after([](auto& f) {
                f.disks = {{"virtio0", "/img/disk.qcow2", false}};
              }),
              ElementsAre(HasSubstr("disk 'virtio0' (/img/disk.qcow2) is writable, and would not be there")));
  EXPECT_THAT(after([](auto& f) {
                f.disks = {{"ide1-cd0", "/img/boot.iso", true}, {"floppy0", "", false}};
              }),
              IsEmpty());
  EXPECT_THAT(after([](auto& f) { f.vhost_devices = {"/machine/peripheral/net0"}; }),
              ElementsAre(HasSubstr("vhost=off")));
  EXPECT_THAT(after([](auto& f) { f.hotplugged_bytes = 1; }), ElementsAre(HasSubstr("plugged")));
  EXPECT_THAT(after([](auto& f) { f.memory.clear(); }), ElementsAre(HasSubstr("memory")));
}

TEST(Objections, WhatWasPluggedInLaterIsNotOnTheCommandLine) {
  EXPECT_THAT(after([](auto& f) {
                f.devices.push_back({"late", "e1000", "/machine/peripheral/late"});
              }),
              ElementsAre(HasSubstr("'late' (e1000) was added after")));
  EXPECT_THAT(after([](auto& f) {
                f.devices.push_back({"", "e1000", "/machine/peripheral-anon/device[0]"});
              }),
              ElementsAre(HasSubstr("without id")));
  EXPECT_THAT(after([](auto& f) {
                f.netdevs.push_back({"n9", "user", "", ""});
              }),
              ElementsAre(HasSubstr("netdev 'n9'")));
}

TEST(Objections, Netdevs) {
  EXPECT_THAT(after([](auto& f) { f.argv[2] = "tap,id=n0,ifname=tap0,vhost=on"; }),
              ElementsAre(HasSubstr("vhost=off")));
  EXPECT_THAT(after([](auto& f) { f.argv[2] = "tap,id=n0,ifname=tap0,queues=4"; }),
              ElementsAre(HasSubstr("queues")));
  EXPECT_THAT(after([](auto& f) { f.netdevs[0].ifname.clear(); }), ElementsAre(HasSubstr("tap interface")));
}

TEST(Objections, AllAreSaidAtOnce) {
  EXPECT_EQ(after([](auto& f) {
              f.status = "paused";
              f.migration = "active";
              f.disks = {{"d", "/x", false}};
            }).size(),
            3U);
}

TEST(Inspect, InfoNetwork) {
  const auto list = parse_info_network(
      "virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:77:02\r\n"
      " \\ n0: index=0,type=tap,ifname=tapA,script=no,downscript=no\r\n"
      "filters:\r\n  - f0: type=filter-buffer,queue=rx\r\n"
      "lone: index=0,type=user,net=10.0.2.0\r\n");
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].id, "n0");
  EXPECT_EQ(list[0].type, "tap");
  EXPECT_EQ(list[0].ifname, "tapA");
  EXPECT_EQ(list[1].id, "lone");
  EXPECT_TRUE(parse_info_network("").empty());
  EXPECT_TRUE(parse_info_network(" \\ n0: \n").empty());  // cut short
}

TEST(Inspect, InfoRamblock) {
  EXPECT_THAT(
      parse_info_ramblock("              Block Name    PSize              Offset               Used\r\n"
                          "                  pc.ram    4 KiB  0x0000000000000000 0x0000000010000000\r\n"
                          "     /objects/ram-node0    4 KiB  0x0000000010080000 0x0000000000020000\r\n"),
      ElementsAre("pc.ram", "/objects/ram-node0"));
}

TEST(Inspect, MemoryLiesInTheOrderOfItsNodes) {
  GuestFacts facts;
  facts.memory = {{"b", "b", 100, 0}, {"c", "c", 10, 0}, {"a", "a", 1000, 0}};
  facts.argv = {"qemu",          "-numa", "node,nodeid=1,memdev=b", "-numa",
                "node,memdev=c", "-numa", "node,nodeid=0,memdev=a"};
  place_memory(facts);
  EXPECT_EQ(facts.memory[0].id, "a");
  EXPECT_EQ(facts.memory[1].id, "b");
  EXPECT_EQ(facts.memory[1].address, 1000U);
  EXPECT_EQ(facts.memory[2].id, "c");
  EXPECT_EQ(facts.memory[2].address, 1100U);
}

TEST(GuestFacts, SurviveTheWayToTheBackup) {
  const GuestFacts facts = good();
  const auto back = facts_from_json(to_json(facts));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(back->argv, facts.argv);
  EXPECT_EQ(back->machine, facts.machine);
  EXPECT_EQ(back->memory[0].bytes, facts.memory[0].bytes);
  EXPECT_EQ(back->netdevs[0].bridge, "br0");
  EXPECT_EQ(back->version.triple(), facts.version.triple());
  auto broken = to_json(facts);
  broken["memory"][0].erase("bytes");
  EXPECT_FALSE(facts_from_json(broken));
  EXPECT_FALSE(facts_from_json(nlohmann::json::array()));
}

}  // namespace
