#include "base/json.hpp"

#include <gtest/gtest.h>

#include <string>

namespace remus {
namespace {

std::string tower(std::size_t floors) {
  return std::string(floors, '[') + std::string(floors, ']');
}

TEST(ParseJson, ReadsWhatIsJson) {
  EXPECT_EQ(parse_json(R"({"a": [1, {"b": null}]})")["a"][0], 1);
  EXPECT_TRUE(parse_json("").is_discarded());
  EXPECT_TRUE(parse_json("{a}").is_discarded());
  EXPECT_TRUE(parse_json("[1] 2").is_discarded());
}

TEST(ParseJson, ATowerIsRefusedWhileItIsRead) {
  EXPECT_FALSE(parse_json(tower(json_depth_max)).is_discarded());
  EXPECT_TRUE(parse_json(tower(json_depth_max + 1)).is_discarded());
  // Copied or destroyed, this one would exhaust the stack.
  EXPECT_TRUE(parse_json(tower(500'000)).is_discarded());
  EXPECT_TRUE(parse_json(R"({"x": )" + tower(500'000) + "}").is_discarded());
  EXPECT_TRUE(parse_json(std::string(500'000, '[')).is_discarded());
}

}  // namespace
}  // namespace remus
