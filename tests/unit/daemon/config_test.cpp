#include "daemon/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace remus::daemon {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string error_of(std::string_view text) {
  const auto config = parse_config(text, "remus.toml");
  return config ? std::string{"(accepted)"} : config.error().text();
}

TEST(Config, AnEmptyFileIsGood) {
  const auto config = parse_config("", "remus.toml");
  ASSERT_TRUE(config.has_value()) << config.error().text();
  EXPECT_FALSE(config->host.empty());
  EXPECT_EQ(config->peer_port, 7600);
  EXPECT_EQ(config->admin_socket(), "/run/remus/remusd.sock");
}

TEST(Config, EverythingIsRead) {
  const auto config = parse_config(R"(
[host]
name = "hostA"
[paths]
run = "/run/lab"
guard = "/opt/remus-guard"
[network]
listen = ["10.0.0.1"]
peer_port = 7700
guard_ports = [7701, 7710]
[api]
group = "remus"
[log]
level = "debug"
dir = "/var/log/remus"
[peers.hostB]
addresses = ["10.0.0.2", "192.168.1.2:99", "fd00::2", "[fd00::3]:98"]
[defaults]
interval = "50ms"
bandwidth = "1Gbit/s"
copy_rate = "50MiB/s"
compression = "zstd"
arbiter = "manual"
bridges = { br0 = "lan1" }
disks = [{ name = "vda" }, { name = "vdb", mode = "shared" }]
)",
                                   "remus.toml");
  ASSERT_TRUE(config.has_value()) << config.error().text();
  EXPECT_EQ(config->host, "hostA");
  EXPECT_EQ(config->dirs.run, "/run/lab");
  EXPECT_EQ(config->dirs.state, "/var/lib/remus");
  EXPECT_EQ(config->guard_binary, "/opt/remus-guard");
  EXPECT_EQ(config->guard_port_last, 7710);
  const auto& addresses = config->peers.at("hostB").addresses;
  ASSERT_EQ(addresses.size(), 4U);
  EXPECT_EQ(guard::to_string(addresses[0]), "10.0.0.2:7700") << "the default is network.peer_port";
  EXPECT_EQ(guard::to_string(addresses[1]), "192.168.1.2:99");
  EXPECT_EQ(guard::to_string(addresses[2]), "[fd00::2]:7700");
  EXPECT_EQ(guard::to_string(addresses[3]), "[fd00::3]:98");
  EXPECT_EQ(config->defaults.engine.interval, std::chrono::milliseconds{50});
  EXPECT_EQ(config->defaults.bandwidth_bytes_per_s, 125'000'000U);
  EXPECT_EQ(config->defaults.copy_rate_bytes_per_s, 50U << 20);
  EXPECT_EQ(config->defaults.compression, guard::Compression::zstd);
  EXPECT_EQ(config->defaults.arbiter, guard::ArbiterKind::manual);
  EXPECT_EQ(config->defaults.bridges.at("br0"), "lan1");
  EXPECT_EQ(config->defaults.disks,
            (std::vector<guard::DiskOption>{{"vda", guard::DiskMode::replicate, "", false},
                                            {"vdb", guard::DiskMode::shared, "", false}}));
}

TEST(Config, AnUnknownKeyIsFoundWhereItStandsAndTheRightOneSuggested) {
  EXPECT_THAT(error_of("[defaults]\nintervall = \"50ms\"\n"),
              AllOf(StartsWith("remus.toml:2:1:"), HasSubstr("defaults.intervall"),
                    HasSubstr("did you mean 'interval'?")));
  EXPECT_THAT(error_of("[netwrok]\n"), AllOf(HasSubstr("netwrok"), HasSubstr("did you mean 'network'?")));
  EXPECT_THAT(error_of("[host]\nzzz = 1\n"),
              AllOf(StartsWith("remus.toml:2:1:"), HasSubstr("known here: name")));
}

TEST(Config, WrongTypesAreNamed) {
  EXPECT_THAT(error_of("[network]\npeer_port = \"7600\"\n"),
              AllOf(StartsWith("remus.toml:2:"), HasSubstr("network.peer_port"), HasSubstr("whole number")));
  EXPECT_THAT(error_of("[defaults]\ninterval = 50\n"),
              AllOf(HasSubstr("a duration such as"), HasSubstr("whole number")));
  EXPECT_THAT(error_of("peers = 3\n"), HasSubstr("[peers.hostB]"));
  EXPECT_THAT(error_of("[peers]\nhostB = \"10.0.0.2\"\n"), HasSubstr("peers.hostB"));
  EXPECT_THAT(error_of("[host]\nname = 2020-01-01\n"), HasSubstr("host.name"));
}

TEST(Config, ValuesOutOfRangeAreNamedWithTheRange) {
  EXPECT_THAT(error_of("[network]\npeer_port = 70000\n"), HasSubstr("65535"));
  EXPECT_THAT(error_of("[network]\npeer_port = -1\n"), HasSubstr("65535"));
  EXPECT_THAT(error_of("[network]\nguard_ports = [7699, 7601]\n"), HasSubstr("may not exceed"));
  EXPECT_THAT(error_of("[network]\nguard_ports = [7590, 7601]\n"), HasSubstr("peer_port"));
  EXPECT_THAT(error_of("[defaults]\ninterval = \"1h\"\n"),
              AllOf(HasSubstr("3600s"), HasSubstr("2ms to 10s")));
  EXPECT_THAT(error_of("[defaults]\nmax_overhead = 1.5\n"), HasSubstr("max_overhead"));
  EXPECT_THAT(error_of("[paths]\nrun = \"run\"\n"), HasSubstr("absolute"));
  EXPECT_THAT(error_of("[log]\nlevel = \"loud\"\n"), HasSubstr("use one of trace"));
  EXPECT_THAT(error_of("[defaults]\ndisks = [{ name = \"vda\", mode = \"mirror\" }]\n"),
              AllOf(StartsWith("remus.toml:2:"), HasSubstr("defaults.disks.0.mode")));
}

TEST(Config, ABadDurationSaysHowToWriteOne) {
  EXPECT_THAT(error_of("[defaults]\ninterval = \"50\"\n"),
              AllOf(StartsWith("remus.toml:2:1:"), HasSubstr("'50' is not a duration"), HasSubstr("50ms")));
}

TEST(Config, RelationsBetweenValuesAreChecked) {
  EXPECT_THAT(error_of("[defaults]\nalone_after = \"1s\"\n"), HasSubstr("longer than detect_max"));
  EXPECT_THAT(error_of("[defaults]\ndetect_min = \"30ms\"\n"), HasSubstr("two heartbeats"));
  EXPECT_THAT(error_of("[host]\nname = \"a\"\n[peers.a]\naddresses = [\"10.0.0.2\"]\n"),
              HasSubstr("not its own peer"));
  EXPECT_THAT(error_of("[peers.b]\naddresses = []\n"), HasSubstr("1 to 8"));
}

TEST(Config, BrokenTomlIsFoundWhereItBreaks) {
  EXPECT_THAT(error_of("[host\nname = 1\n"), StartsWith("remus.toml:1:"));
  EXPECT_THAT(error_of("a = 1\na = 2\n"), StartsWith("remus.toml:2:"));
}

TEST(Config, AnEmptyTableIsNoFaultButAnEmptyNameIs) {
  EXPECT_EQ(error_of("[host]\n[network]\n[peers]\n[defaults]\n"), "(accepted)");
  EXPECT_THAT(error_of("[host]\nname = \"\"\n"), HasSubstr("is not a host name"));
}

TEST(Config, AMissingFileIsNotFound) {
  const auto config = load_config("/nonexistent/remus.toml");
  ASSERT_FALSE(config.has_value());
  EXPECT_EQ(config.error().kind, Errc::not_found);
  EXPECT_THAT(config.error().text(), HasSubstr("--config"));
}

TEST(Config, TheShippedExampleIsGood) {
  const auto config = load_config(std::filesystem::path{REMUS_SOURCE_DIR} / "packaging/remus.toml");
  EXPECT_TRUE(config.has_value()) << config.error().text();
}

}  // namespace
}  // namespace remus::daemon
