// What the standby believes of a primary's description, and what it refuses.
#include "hypervisor/xen/standby_facts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hypervisor/xen/base64.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor;
using namespace remus::hypervisor::xen;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string static_end() {
  std::vector<std::byte> record(8);
  record[0] = std::byte{0x10};
  return encode_base64(record);
}

GuestDescription described() {
  return {.hypervisor = "xen",
          .version = "4.17",
          .memory_bytes = 1 << 20,
          .details = {{"type", "hvm"},
                      {"uuid", "u"},
                      {"config", {{"c_info", {{"name", "web1"}, {"domid", 7}}}}},
                      {"static_records", static_end()},
                      {"device_model", true}}};
}

TEST(StandbyFacts, AreReadFromTheDescription) {
  const auto facts = read_standby_facts(described());
  ASSERT_TRUE(facts) << facts.error().text();
  EXPECT_FALSE(facts->pv);
  EXPECT_TRUE(facts->device_model);
  EXPECT_EQ(facts->version, (XenVersion{4, 17}));
  EXPECT_LT((XenVersion{4, 9}), facts->version);
  EXPECT_EQ(facts->static_records.size(), 8U);
}

TEST(StandbyFacts, AParavirtualGuestsWordSizeIsKnown) {
  for (const unsigned width : {0U, 2U, 4U, 8U}) {
    auto guest = described();
    std::vector<std::byte> records(24);
    records[0] = std::byte{0x02};  // X86_PV_INFO, 8 bytes
    records[4] = std::byte{8};
    records[8] = static_cast<std::byte>(width);
    records[16] = std::byte{0x10};
    guest.details["type"] = "pv";
    guest.details["static_records"] = encode_base64(records);
    const auto facts = read_standby_facts(guest);
    ASSERT_EQ(facts.has_value(), width == 4 || width == 8) << width;
    if (facts)
      EXPECT_EQ(facts->pv_width_bytes, width);
    else
      EXPECT_THAT(facts.error().text(), HasSubstr("word size"));
  }
}

TEST(StandbyFacts, ConfigurationMayComeAsText) {
  auto guest = described();
  guest.details["config"] = guest.details["config"].dump();
  EXPECT_TRUE(read_standby_facts(guest));
}

TEST(StandbyFacts, DamagedDescriptionsAreRefusedWithAReason) {
  const auto error_after = [](auto change) {
    auto guest = described();
    change(guest);
    const auto facts = read_standby_facts(guest);
    return facts ? std::string{"none"} : facts.error().text();
  };
  EXPECT_THAT(error_after([](auto& g) { g.hypervisor = "qemu"; }), HasSubstr("'qemu'"));
  EXPECT_THAT(error_after([](auto& g) { g.details["type"] = "arm"; }), HasSubstr("'arm'"));
  EXPECT_THAT(error_after([](auto& g) { g.version = "new"; }), HasSubstr("'new'"));
  EXPECT_THAT(error_after([](auto& g) { g.details.erase("uuid"); }), HasSubstr("uuid"));
  EXPECT_THAT(error_after([](auto& g) { g.details["config"] = "{"; }), HasSubstr("damaged"));
  EXPECT_THAT(error_after([](auto& g) { g.details["static_records"] = "?"; }), HasSubstr("base64"));
  EXPECT_THAT(error_after([](auto& g) { g.details["static_records"] = ""; }), HasSubstr("STATIC_DATA_END"));
  EXPECT_THAT(
      error_after([](auto& g) { g.details["static_records"] = encode_base64(std::vector<std::byte>(5)); }),
      HasSubstr("record"));
}

TEST(StandbyFacts, ConfigurationIsMadeThisHosts) {
  auto guest = described();
  guest.details["config"]["nics"] =
      json::array({{{"bridge", "xenbr0"}}, {{"bridge", "dmz"}}, json::object()});
  const auto facts = read_standby_facts(guest);
  ASSERT_TRUE(facts);
  const json config = config_for_this_host(*facts, "web1--incoming", {{"xenbr0", "br7"}}).value();
  EXPECT_EQ(config["c_info"]["name"], "web1--incoming");
  EXPECT_FALSE(config["c_info"].contains("domid"));
  EXPECT_EQ(config["nics"][0]["bridge"], "br7");
  EXPECT_EQ(config["nics"][1]["bridge"], "dmz");
}

TEST(StandbyFacts, AReplicaStandsWhereThePrimaryHasTheImage) {
  auto guest = described();
  guest.details["config"]["disks"] =
      json::array({{{"vdev", "xvda"},
                    {"pdev_path", "/srv/a.qcow2"},
                    {"format", "qcow2"},
                    {"backend", "qdisk"},
                    {"readwrite", 1}},
                   {{"vdev", "xvdb"}, {"pdev_path", "/srv/b.iso"}, {"format", "raw"}, {"backend", "phy"}}});
  const auto facts = read_standby_facts(guest);
  ASSERT_TRUE(facts);
  const auto config = config_for_this_host(*facts, "web1", {}, {{"xvda", {.path = "/srv/a.qcow2.raw"}}});
  ASSERT_TRUE(config);
  const json replica{{"vdev", "xvda"},
                     {"pdev_path", "/srv/a.qcow2.raw"},
                     {"format", "raw"},
                     {"backend", "qdisk"},
                     {"readwrite", 1}};
  EXPECT_EQ(config->at("disks")[0], replica);
  EXPECT_EQ(config->at("disks")[1], facts->config["disks"][1]);
  EXPECT_FALSE(config_for_this_host(*facts, "web1", {}, {{"xvdz", {}}}));
}

TEST(StandbyFacts, WhatThisHostLacksIsNamed) {
  const json config{{"nics", {{{"bridge", "no-such-br"}}, {{"bridge", "lo"}}, {{"bridge", "lo.5:7"}}}},
                    {"disks",
                     {{{"pdev_path", "/no/such/disk"}, {"vdev", "xvda"}},
                      {{"pdev_path", "/dev/null"}},
                      {{"pdev_path", "/no/such/nbd"}, {"script", "block-nbd"}},
                      {{"pdev_path", ""}}}},
                    {"b_info", {{"kernel", "/no/such/kernel"}}}};
  const HostNeeds needs = host_needs(config);
  EXPECT_THAT(needs.missing, ElementsAre("bridge 'no-such-br'", "disk '/no/such/disk' (xvda)"));
  EXPECT_THAT(needs.notes, ElementsAre(HasSubstr("rebooted")));
  EXPECT_THAT(host_needs(json::object()).missing, IsEmpty());
  EXPECT_THAT(host_needs({{"nics", 5}, {"disks", {5, "x"}}}).missing, IsEmpty());
}

TEST(StandbyFacts, BlocksAreNamedByTheirFirstPage) {
  checkpoint::Layout layout;
  layout.add("ram@feffc", 4 * checkpoint::page_bytes);
  EXPECT_EQ(first_pfn_of(layout.blocks[0]).value_or(0), 0xfeffcU);
  for (const char* name : {"ram@", "ram", "pc.ram", "ram@12x", "ram@-1", "ram@fffffffffffff"}) {
    layout.blocks[0].name = name;
    EXPECT_FALSE(first_pfn_of(layout.blocks[0])) << name;
  }
}

}  // namespace
