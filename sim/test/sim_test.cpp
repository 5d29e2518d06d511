// The simulator as a test: a few thousand seeds without a violation, replay, coverage.
#include <gtest/gtest.h>

#include <cstdlib>

#include "world.hpp"

namespace remus::sim {
namespace {

/// Sanitizer builds run fewer seeds: REMUS_SIM_SEEDS says how many.
std::uint64_t seeds(std::uint64_t usual) {
  const char* wanted = std::getenv("REMUS_SIM_SEEDS");
  return wanted == nullptr ? usual : std::strtoull(wanted, nullptr, 10);
}

constexpr Scenario scenarios[] = {Scenario::failstop, Scenario::exclusive};

TEST(SimShort, NoViolation) {
  Coverage coverage;
  for (const Scenario scenario : scenarios) {
    for (std::uint64_t seed = 0; seed < seeds(2'500); ++seed) {
      const auto result = run_seed(seed, scenario, coverage);
      ASSERT_TRUE(result.passed) << "seed " << seed << " scenario " << static_cast<int>(scenario) << ": "
                                 << result.violation;
    }
  }
}

/// Replicas as the product keeps them, in every run.
TEST(SimShort, NoViolationWithRealDisks) {
  Coverage coverage;
  for (const Scenario scenario : scenarios) {
    for (std::uint64_t seed = 0; seed < seeds(300); ++seed) {
      const auto result = run_seed(seed, scenario, coverage, nullptr, Disks::real);
      ASSERT_TRUE(result.passed) << "seed " << seed << " scenario " << static_cast<int>(scenario) << ": "
                                 << result.violation;
    }
  }
}

TEST(SimReplay, SameSeedSameRun) {
  for (const Scenario scenario : scenarios) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      Coverage coverage;
      std::vector<std::string> first_trace;
      std::vector<std::string> second_trace;
      const auto first = run_seed(seed, scenario, coverage, &first_trace);
      const auto second = run_seed(seed, scenario, coverage, &second_trace);
      const auto untraced = run_seed(seed, scenario, coverage);
      ASSERT_EQ(first.hash, second.hash) << "seed " << seed;
      ASSERT_EQ(first.hash, untraced.hash) << "tracing changes seed " << seed;
      ASSERT_EQ(first.events, second.events);
      ASSERT_EQ(first_trace, second_trace);
    }
  }
}

TEST(SimReplay, OtherSeedOtherRun) {
  Coverage coverage;
  EXPECT_NE(run_seed(1, Scenario::failstop, coverage).hash, run_seed(2, Scenario::failstop, coverage).hash);
  EXPECT_NE(run_seed(1, Scenario::failstop, coverage).hash, run_seed(1, Scenario::exclusive, coverage).hash);
}

TEST(SimCoverage, EveryTransitionIsReached) {
  Coverage coverage;
  for (const Scenario scenario : scenarios) {
    for (std::uint64_t seed = 0; seed < 15'000; ++seed) {
      const auto result = run_seed(seed, scenario, coverage);
      ASSERT_TRUE(result.passed) << "seed " << seed << ": " << result.violation;
    }
  }
  for (const auto& line : coverage.lines()) {
    if (line.required) {
      EXPECT_GT(line.count, 0U) << "never reached: " << line.name;
    }
  }
}

}  // namespace
}  // namespace remus::sim
