// The OpenAPI document and the routes name the same paths and methods: a document that is not true is worse
// than none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "daemon/api.hpp"
#include "temp_dir.hpp"

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

}  // namespace
}  // namespace remus::daemon
