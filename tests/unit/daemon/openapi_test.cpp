// The OpenAPI document and the routes name the same paths and methods: a document that is not true is worse
// than none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "../temp_dir.hpp"
#include "daemon/api.hpp"

namespace remus::daemon {
namespace {

/// "GET /v1/guests/{name}" of each operation: paths stand at two columns, methods at four.
std::set<std::string> documented() {
  std::ifstream in{std::filesystem::path{REMUS_SOURCE_DIR} / "docs/openapi.yaml"};
  std::set<std::string> out;
  std::string path;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("  /v1/")) path = line.substr(2, line.find_last_of(':') - 2);
    if (line == "components:") break;
    for (const auto& [word, method] : {std::pair{"    get:", "GET"}, std::pair{"    post:", "POST"},
                                       std::pair{"    patch:", "PATCH"}, std::pair{"    delete:", "DELETE"}})
      if (line == word) out.insert(std::string{method} + " " + path);
  }
  return out;
}

TEST(OpenApi, NamesExactlyTheRoutesThereAre) {
  const test::TempDir dir;
  boost::asio::io_context io{1};
  Config config;
  config.host = "hostA";
  config.dirs = {dir.path(), dir.path(), dir.path(), dir.path()};
  Host host{io, config};
  std::set<std::string> routes;
  for (const auto& router : {admin_routes(host), peer_routes(host)})
    for (const auto& route : router.listing()) routes.insert(route);
  EXPECT_FALSE(routes.empty());
  EXPECT_EQ(documented(), routes);
}

/// The lines of one schema, without those of the next.
std::vector<std::string> schema(const std::string& name) {
  std::ifstream in{std::filesystem::path{REMUS_SOURCE_DIR} / "docs/openapi.yaml"};
  std::vector<std::string> out;
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line.size() > 4 && line.starts_with("    ") && line[4] != ' ') inside = line == "    " + name + ":";
    if (inside) out.push_back(line);
  }
  return out;
}

/// Each property with its own line, or with its line and the next: "nullable" may stand in either.
void expect_documented(const nlohmann::json& document, const std::vector<std::string>& lines) {
  for (const auto& [key, value] : document.items()) {
    const auto found = std::ranges::find_if(lines, [&, name = key + ":"](const std::string& line) {
      return line.substr(std::min(line.size(), line.find_first_not_of(' '))).starts_with(name);
    });
    ASSERT_NE(found, lines.end()) << key << " is not in the document";
    if (value.is_null() && key != "last_error") {
      std::string text;
      for (auto at = found; at != lines.end() && at < found + 3; ++at) text += *at;
      EXPECT_THAT(text, testing::HasSubstr("nullable: true")) << key;
    }
    if (value.is_object() && key != "options") expect_documented(value, lines);
  }
}

TEST(OpenApi, NamesEveryFieldOfAGuardsStatusAndWhichMayBeNull) {
  const auto lines = schema("GuardStatus");
  ASSERT_FALSE(lines.empty());
  expect_documented(guard::to_json(guard::GuardStatus{}), lines);
  guard::GuardStatus full;
  full.sync = guard::GuardStatus::Sync{};
  full.disks.emplace_back();
  const auto written = guard::to_json(full);
  expect_documented(written, lines);
  expect_documented(written["disks"][0], schema("DiskStatus"));
}

TEST(OpenApi, NamesEveryFieldOfAVerificationAndOfADisksOption) {
  expect_documented(guard::to_json(guard::VerifyReport{}), schema("Verification"));
  expect_documented(guard::to_json(std::vector<guard::DiskOption>(1))[0], schema("DiskOption"));
  expect_documented(guard::to_json(guard::GuestOptions{}), schema("Options"));
}

}  // namespace
}  // namespace remus::daemon
