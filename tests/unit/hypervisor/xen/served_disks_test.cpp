#include "hypervisor/xen/served_disks.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using namespace remus::hypervisor;
using namespace remus::hypervisor::xen;
using ::testing::HasSubstr;

DomainFacts domain(bool connected) {
  DomainFacts facts;
  facts.name = "web1";
  facts.disks.push_back({.device = "hda",
                         .target = "/srv/web1.img",
                         .writable = true,
                         .format = "raw",
                         .backend = "qdisk",
                         .connected = connected});
  return facts;
}

qemu::Disk image(const char* device, const char* node) {
  return {.device = device, .file = "/srv/web1.img", .node = node, .driver = "raw", .bytes = 1 << 20};
}

/// As a device model has it: once for the emulated disk, once for the PV driver.
qemu::GuestFacts both() {
  qemu::GuestFacts facts;
  facts.version = {7, 2, 0, ""};
  facts.disks = {image("ide0-hd0", "#block153"), image("hda-raw", "hda-raw")};
  return facts;
}

TEST(ServedDisks, OfAnImageOpenedTwiceTheOneInUseIsFollowed) {
  const auto by_driver = find_served(domain(true), {"hda"}, both());
  ASSERT_TRUE(by_driver) << by_driver.error().text();
  EXPECT_EQ(by_driver->at(0).first, "hda");
  EXPECT_EQ(by_driver->at(0).second.node, "hda-raw");
  const auto emulated = find_served(domain(false), {"hda"}, both());
  ASSERT_TRUE(emulated) << emulated.error().text();
  EXPECT_EQ(emulated->at(0).second.node, "#block153");
  EXPECT_EQ(emulated->at(0).second.device, "hda");
}

TEST(ServedDisks, ADiskThatQemuDoesNotHaveIsRefused) {
  auto served = both();
  served.disks.clear();
  const auto found = find_served(domain(true), {"hda"}, served);
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().what, HasSubstr("none 'hda'"));
  EXPECT_FALSE(find_served(domain(true), {"hdb"}, both()));
}

TEST(ServedDisks, WhatQemuIsBusyWithIsRefused) {
  auto served = both();
  served.jobs.push_back({"backup0", "backup"});
  const auto found = find_served(domain(true), {"hda"}, served);
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().what, HasSubstr("backup0"));
}

}  // namespace
