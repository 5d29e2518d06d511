#include "daemon/registry.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "../temp_dir.hpp"

namespace remus::daemon {
namespace {

Registration sample() {
  Registration r;
  r.guest = "web1";
  r.role = Role::owner;
  r.peer = "hostB";
  r.qmp = "/run/x";
  r.generation = 4;
  r.guest_pid = 17;
  r.guest_start_ticks = 1234567890123;
  r.description = {{"hypervisor", "qemu"}};
  r.handle = {{"pid", 17}};
  return r;
}

TEST(Registry, WhatIsSavedIsLoaded) {
  const test::TempDir dir;
  const Registry registry{dir.path() / "state"};
  std::vector<Error> problems;
  ASSERT_TRUE(registry.load(problems)->empty());
  ASSERT_TRUE(registry.save(sample()).has_value());
  const auto loaded = registry.load(problems);
  ASSERT_EQ(loaded->size(), 1U);
  EXPECT_EQ(to_json(loaded->front()), to_json(sample()));
  ASSERT_TRUE(registry.remove("web1").has_value());
  EXPECT_TRUE(registry.load(problems)->empty());
  EXPECT_TRUE(problems.empty());
}

TEST(Registry, ADamagedFileIsReportedLeftAloneAndHidesNoOther) {
  const test::TempDir dir;
  const Registry registry{dir.path()};
  std::vector<Error> problems;
  ASSERT_TRUE(registry.load(problems).has_value());
  ASSERT_TRUE(registry.save(sample()).has_value());
  std::ofstream{dir.path() / "guests/bad.json"} << "{";
  std::ofstream{dir.path() / "guests/odd.json"} << R"({"guest": "odd", "role": "king", "peer": "b"})";
  EXPECT_EQ(registry.load(problems)->size(), 1U);
  EXPECT_EQ(problems.size(), 2U);
  EXPECT_TRUE(std::filesystem::exists(dir.path() / "guests/bad.json"));
}

TEST(Registry, Peers) {
  const test::TempDir dir;
  const Registry registry{dir.path()};
  EXPECT_TRUE(registry.load_peers()->empty());
  ASSERT_TRUE(
      registry.save_peers({{"hostB", {"hostB", {{"10.0.0.2", 7600}, {"fd00::2", 7600}}}}}).has_value());
  const auto peers = registry.load_peers();
  ASSERT_TRUE(peers.has_value());
  EXPECT_EQ(guard::to_string(peers->at("hostB").addresses[1]), "[fd00::2]:7600");
}

}  // namespace
}  // namespace remus::daemon
