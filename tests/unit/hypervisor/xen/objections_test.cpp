#include <gtest/gtest.h>

#include "hypervisor/xen/domain_facts.hpp"

namespace {

using namespace remus::hypervisor::xen;

/// A domain that nothing speaks against.
DomainFacts good() {
  DomainFacts facts;
  facts.domid = 7;
  facts.name = "web1";
  facts.kind = Kind::hvm;
  facts.target_kib = 262144;
  facts.maximum_kib = 262144;
  facts.disks.push_back({.device = "hdc", .target = "/srv/install.iso"});
  return facts;
}

Disk volume(const char* backend = "phy") {
  return {.device = "xvda",
          .target = "/dev/vg/web1",
          .writable = true,
          .format = "raw",
          .backend = backend,
          .connected = true};
}

std::string only_reason(const DomainFacts& facts, const XenAttachOptions& options = {}) {
  const auto reasons = objections(facts, options);
  EXPECT_EQ(reasons.size(), 1U);
  return reasons.empty() ? std::string{} : reasons.front();
}

TEST(XenObjections, AnOrdinaryDomainHasNone) {
  EXPECT_TRUE(objections(good(), {}).empty());
}

TEST(XenObjections, TheHostItself) {
  DomainFacts facts = good();
  facts.domid = 0;
  facts.passthrough_devices = 12;  // of no interest then
  EXPECT_NE(only_reason(facts).find("Domain-0"), std::string::npos);
}

TEST(XenObjections, EachReasonIsTold) {
  const auto with = [](auto change) {
    DomainFacts facts = good();
    change(facts);
    return only_reason(facts);
  };
  const auto told = [](const std::string& reason, const char* word) {
    return reason.find(word) != std::string::npos;
  };
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.moving = true; }), "migrated"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.paused = true; }), "paused"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.shut_down = true; }), "shut down"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.dying = true; }), "destroyed"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.passthrough_devices = 1; }), "PCI passthrough"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.populate_on_demand_pages = 5; }), "on demand"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.target_kib = 131072; }), "ballooned to 128 of 256 MiB"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.other_devices = {"a virtual TPM"}; }), "a virtual TPM"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.stub_domain = true; }), "stub domain"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.restricted_model = true; }), "dm_restrict"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.kind = Kind::pv, f.pv_width_bytes = 2; }), "2 bytes"));
  EXPECT_TRUE(told(with([](DomainFacts& f) { f.vifs.resize(33); }), "33 network interfaces"));
}

TEST(XenObjections, AWritableDiskIsNamedUnlessVouchedFor) {
  DomainFacts facts = good();
  facts.disks.push_back(volume());
  const std::string reason = only_reason(facts);
  EXPECT_NE(reason.find("xvda"), std::string::npos);
  EXPECT_NE(reason.find("/dev/vg/web1"), std::string::npos);
  EXPECT_TRUE(objections(facts, {.vouched_disks = {"xvda"}}).empty());
  EXPECT_EQ(objections(facts, {.vouched_disks = {"xvdb"}}).size(), 1U);
}

TEST(XenObjections, AReplicatedDiskIsServedByAQemuThatTheGuestUses) {
  const XenAttachOptions options{.replicated_disks = {"xvda"}};
  DomainFacts facts = good();
  EXPECT_NE(only_reason(facts, options).find("no disk 'xvda'"), std::string::npos);
  facts.disks.push_back(volume("qdisk"));
  EXPECT_TRUE(objections(facts, options).empty());
  Disk& disk = facts.disks.back();
  disk.backend = "phy";
  EXPECT_NE(only_reason(facts, options).find("backendtype=qdisk"), std::string::npos);
  disk.backend = "qdisk";
  disk.connected = false;  // an emulated disk, for a guest without PV drivers
  EXPECT_TRUE(objections(facts, options).empty());
  facts.cooperative = true;
  EXPECT_NE(only_reason(facts, options).find("until it has booted"), std::string::npos);
  disk.writable = false;
  EXPECT_NE(only_reason(facts, options).find("read-only"), std::string::npos);
}

TEST(XenObjections, AllReasonsAtOnce) {
  DomainFacts facts = good();
  facts.passthrough_devices = 1;
  facts.moving = true;
  facts.disks.push_back(volume());
  EXPECT_EQ(objections(facts, {}).size(), 3U);
}

}  // namespace
