#include "guard/disk_options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guard/options.hpp"

namespace remus::guard {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string said(std::string_view word) {
  const auto disk = parse_disk_option(word);
  return disk ? std::string{"(taken)"} : disk.error().text();
}

std::string said_of(const json& options) {
  const auto read = options_from_json(options);
  return read ? std::string{"(taken)"} : read.error().text();
}

TEST(DiskOptions, WordsOfTheCommandLine) {
  EXPECT_EQ(parse_disk_option("vda").value(), (DiskOption{"vda", DiskMode::replicate, "", false}));
  EXPECT_EQ(parse_disk_option("vda=shared").value(), (DiskOption{"vda", DiskMode::shared, "", false}));
  EXPECT_EQ(parse_disk_option("vda,overwrite,target=/srv/a=b.raw").value(),
            (DiskOption{"vda", DiskMode::replicate, "/srv/a=b.raw", true}));
  EXPECT_EQ(parse_disk_option("hda=scratch").value().mode, DiskMode::scratch);
}

TEST(DiskOptions, WordsThatAreWrongAreExplained) {
  EXPECT_THAT(said(""), HasSubstr("without a name"));
  EXPECT_THAT(said("=shared"), HasSubstr("without a name"));
  EXPECT_THAT(said("vda="), HasSubstr("use replicate, shared, external or scratch"));
  EXPECT_THAT(said("vda=mirror"), HasSubstr("'mirror'"));
  EXPECT_THAT(said("vda,overwrit"), HasSubstr("'overwrit' is not understood"));
  EXPECT_THAT(said("vda,target="), HasSubstr("'target=' is not understood"));
  EXPECT_THAT(said("vda,target=/a,target=/b"), HasSubstr("'target=/b'"));
  EXPECT_THAT(said("vda,target=vda.raw"), HasSubstr("absolute path"));
  EXPECT_THAT(said("vda,target=/srv/vm/"), HasSubstr("absolute path"));
  EXPECT_THAT(said("vda,target=/srv/\n"), HasSubstr("absolute path"));
  EXPECT_THAT(said("vda,target=/" + std::string(4095, 'x')), HasSubstr("absolute path"));
  EXPECT_THAT(said("vda=external,overwrite"), HasSubstr("neither target nor overwrite"));
  EXPECT_THAT(said("vda=scratch,target=/x"), HasSubstr("neither target nor overwrite"));
  EXPECT_THAT(said("v\x7f"), HasSubstr("control characters"));
  EXPECT_THAT(said(std::string(256, 'x')), HasSubstr("256 bytes"));
  EXPECT_EQ(said(std::string(255, 'x')), "(taken)");
  EXPECT_EQ(said("plätze"), "(taken)");
  EXPECT_THAT(said("vd\xff"), HasSubstr("not UTF-8")) << "it could not be sent to the daemon";
}

TEST(DiskOptions, AreReadAndWrittenAsJson) {
  const auto options = options_from_json(
      {{"arbiter", "manual"},
       {"disks",
        json::array({{{"name", "vda"}},
                     {{"name", "vdb"}, {"mode", "replicate"}, {"target", "/dev/vg/b"}, {"overwrite", true}},
                     {{"name", "vdc"}, {"mode", "external"}}})}});
  ASSERT_TRUE(options) << options.error().text();
  const std::vector<DiskOption> expected{{"vda", DiskMode::replicate, "", false},
                                         {"vdb", DiskMode::replicate, "/dev/vg/b", true},
                                         {"vdc", DiskMode::external, "", false}};
  EXPECT_EQ(options->disks, expected);
  EXPECT_EQ(options_from_json(to_json(*options)).value().disks, expected);
  EXPECT_EQ(disk_names(expected, DiskMode::replicate), (std::vector<std::string>{"vda", "vdb"}));
  EXPECT_EQ(disk_names(expected, DiskMode::shared), std::vector<std::string>{});
}

TEST(DiskOptions, WhatIsWrongInJsonIsNamedWithItsPlace) {
  const auto list = [](json disks) { return said_of({{"disks", std::move(disks)}}); };
  EXPECT_THAT(list("vda"), HasSubstr("options.disks: expected a list"));
  EXPECT_THAT(list(json::array({"vda"})), HasSubstr("options.disks.0: expected a table"));
  EXPECT_THAT(list(json::array({json::object()})), HasSubstr("'name' is missing"));
  EXPECT_THAT(list(json::array({{{"name", "vda"}}, {{"name", "vdb"}, {"mode", "mirror"}}})),
              HasSubstr("options.disks.1.mode"));
  EXPECT_THAT(list(json::array({{{"name", "vda"}, {"path", "/x"}}})), HasSubstr("unknown key"));
  EXPECT_THAT(list(json::array({{{"name", "vda"}}, {{"name", "vda"}}})), HasSubstr("'vda' is named twice"));
  EXPECT_THAT(list(json::array({{{"name", "vda"}, {"target", "/x"}}, {{"name", "vdb"}, {"target", "/x"}}})),
              HasSubstr("two disks have the target '/x'"));
  auto many = json::array();
  for (int i = 0; i < 65; ++i) many.push_back({{"name", std::to_string(i)}});
  EXPECT_THAT(list(many), HasSubstr("65 disks"));
  many.erase(0);
  EXPECT_EQ(list(many), "(taken)");
}

TEST(DiskOptions, WhatTwoCopiesWouldDestroyNeedsAnArbiterThatExcludesThem) {
  for (const char* mode : {"shared", "external"}) {
    const auto disks = json::array({{{"name", "vda"}, {"mode", mode}}});
    EXPECT_THAT(said_of({{"disks", disks}}),
                HasSubstr("with arbiter fail-stop both hosts may run the guest"));
    EXPECT_EQ(said_of({{"disks", disks}, {"arbiter", "manual"}}), "(taken)");

    GuestOptions defaults;
    defaults.arbiter = ArbiterKind::manual;
    ASSERT_TRUE(options_from_json({{"disks", disks}}, defaults)) << "it may come from the configuration";
  }
  for (const char* mode : {"replicate", "scratch"})
    EXPECT_EQ(said_of({{"disks", json::array({{{"name", "vda"}, {"mode", mode}}})}}), "(taken)");
}

TEST(DiskOptions, AreFixedWhileTheGuestIsProtected) {
  GuestOptions from;
  from.disks = {{"vda", DiskMode::replicate, "", false}};
  GuestOptions to = from;
  EXPECT_TRUE(changeable(from, to));
  to.disks[0].overwrite = true;
  const auto refused = changeable(from, to);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().what, HasSubstr("'disks'"));
}

}  // namespace
}  // namespace remus::guard
