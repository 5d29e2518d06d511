#include "guard/spec.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "../temp_dir.hpp"

namespace remus::guard {
namespace {

using testing::HasSubstr;

GuardSpec sample(Side side) {
  GuardSpec spec;
  spec.side = side;
  spec.guest = "web1";
  spec.host = "hostA";
  spec.peer = "hostB";
  spec.peer_daemons = {{"10.0.0.2", 7600}, {"fd00::2", 7600}};
  spec.dirs = {"/etc/remus/pki", "/run/remus", "/var/lib/remus", "/dev/shm/remus"};
  spec.log_file = "/var/log/remus/web1.log";
  spec.options.engine.interval = std::chrono::milliseconds{20};
  spec.options.bridges = {{"br0", "lan1"}};
  spec.options.disks = {{"vda", DiskMode::replicate, "/srv/vm/vda.raw", true},
                        {"vdb", DiskMode::scratch, "", false}};
  spec.generation = 7;
  if (side == Side::primary) {
    spec.qmp = "/run/web1.qmp";
    spec.rescue_first = true;
    spec.superseded_by = 9;
    spec.peer_links = {{"10.0.0.2", 7601}};
  } else {
    spec.description =
        hypervisor::GuestDescription{"qemu", "7.2.22", 1ULL << 30, {{"machine", "pc-i440fx-7.2"}}};
    spec.listen = {{"10.0.0.1"}, 7601, 7699};
  }
  return spec;
}

TEST(Spec, WhatIsWrittenIsReadBack) {
  for (const auto side : {Side::primary, Side::backup}) {
    const auto written = to_json(sample(side));
    const auto read = spec_from_json(written);
    ASSERT_TRUE(read.has_value()) << read.error().text();
    EXPECT_EQ(to_json(*read), written);
  }
}

TEST(Spec, WhatBelongsToTheOtherSideIsUnknown) {
  auto spec = to_json(sample(Side::backup));
  spec["qmp"] = "/run/web1.qmp";
  const auto read = spec_from_json(spec);
  ASSERT_FALSE(read.has_value());
  EXPECT_THAT(read.error().text(), HasSubstr("spec.qmp: unknown key"));
}

TEST(Spec, EachMissingPartIsNamed) {
  for (const char* key : {"side", "guest", "host", "peer", "dirs", "qmp"}) {
    auto spec = to_json(sample(Side::primary));
    spec.erase(key);
    const auto read = spec_from_json(spec);
    ASSERT_FALSE(read.has_value()) << key;
    EXPECT_THAT(read.error().text(), HasSubstr(key));
  }
}

TEST(Spec, APathTooLongForASocketIsRefused) {
  auto spec = sample(Side::primary);
  spec.dirs.run = "/run/" + std::string(100, 'x');
  const auto read = spec_from_json(to_json(spec));
  ASSERT_FALSE(read.has_value());
  EXPECT_THAT(read.error().text(), HasSubstr("too long for the kernel"));
}

TEST(Spec, NamesThatCouldLeaveTheirDirectoryAreRefused) {
  for (const char* name : {"", ".hidden", "../etc", "a/b", "a b", "-x", "ünder", "a\n"})
    EXPECT_FALSE(validate_guest_name(name).has_value()) << name;
  EXPECT_FALSE(validate_guest_name(std::string(64, 'a')).has_value());
  for (const char* name : {"web1", "a", "web-1.example_x", "1"})
    EXPECT_TRUE(validate_guest_name(name).has_value()) << name;
}

TEST(Spec, Endpoints) {
  EXPECT_EQ(parse_endpoint("[fd00::2]:7600").value(), (Endpoint{"fd00::2", 7600}));
  EXPECT_EQ(to_string(Endpoint{"fd00::2", 7600}), "[fd00::2]:7600");
  for (const char* text : {"", ":", "10.0.0.2", "10.0.0.2:", ":7600", "10.0.0.2:0", "10.0.0.2:65536",
                           "10.0.0.2:7600x", "fd00::2:7600", "a b:1"})
    EXPECT_FALSE(parse_endpoint(text).has_value()) << text;
}

TEST(Spec, AFileThatIsNotJsonIsSaidToBeThat) {
  const test::TempDir dir;
  const auto file = dir.path() / "web1.primary.spec";
  std::ofstream{file} << "{";
  const auto read = load_spec(file);
  ASSERT_FALSE(read.has_value());
  EXPECT_THAT(read.error().text(), HasSubstr(file.string()));
}

}  // namespace
}  // namespace remus::guard
