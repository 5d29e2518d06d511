#include "base/units.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace remus {
namespace {

using namespace std::chrono_literals;

TEST(Units, DurationsAreReadWithTheirUnits) {
  EXPECT_EQ(parse_duration("50ms").value(), 50ms);
  EXPECT_EQ(parse_duration("1.5s").value(), 1500ms);
  EXPECT_EQ(parse_duration("250us").value(), 250us);
  EXPECT_EQ(parse_duration("2m").value(), 2min);
  EXPECT_EQ(parse_duration("0").value(), 0ns);
}

TEST(Units, ADurationWithoutUnitIsRefusedWithExamples) {
  for (const char* text : {"50", "", "ms", "-5ms", "5 parsecs", "1e3ms", "nan", "50msx", "999999999999h"}) {
    const auto read = parse_duration(text);
    ASSERT_FALSE(read.has_value()) << text;
    EXPECT_EQ(read.error().kind, Errc::invalid);
    EXPECT_NE(read.error().fix.find("50ms"), std::string::npos);
  }
}

TEST(Units, Sizes) {
  EXPECT_EQ(parse_size("64MiB").value(), 64ULL << 20);
  EXPECT_EQ(parse_size("2G").value(), 2ULL << 30);
  EXPECT_EQ(parse_size("1kB").value(), 1000U);
  EXPECT_EQ(parse_size("17B").value(), 17U);
  EXPECT_FALSE(parse_size("17").has_value());
  EXPECT_FALSE(parse_size("99999999TiB").has_value());
}

TEST(Units, Rates) {
  EXPECT_EQ(parse_rate("100MiB/s").value(), 100ULL << 20);
  EXPECT_EQ(parse_rate("1Gbit/s").value(), 125'000'000U);
  EXPECT_EQ(parse_rate("unlimited").value(), 0U);
  EXPECT_FALSE(parse_rate("100MiB").has_value());
  EXPECT_FALSE(parse_rate("0MiB/s").has_value()) << "a limit of nothing would stop protection, not free it";
}

TEST(Units, WhatIsWrittenIsReadBack) {
  for (const std::chrono::nanoseconds value :
       std::vector<std::chrono::nanoseconds>{0ns, 1ns, 1500us, 50ms, 3s, 90s, 3600s})
    EXPECT_EQ(parse_duration(format_duration(value)), value);
  for (const std::uint64_t value : {0ULL, 1ULL, 1000ULL, 1024ULL, 3ULL << 20, 1ULL << 40, (1ULL << 30) + 1})
    EXPECT_EQ(parse_size(format_size(value)), value);
  for (const std::uint64_t value : {0ULL, 1ULL << 20, 125'000'000ULL})
    EXPECT_EQ(parse_rate(format_rate(value)), value);
}

}  // namespace
}  // namespace remus
