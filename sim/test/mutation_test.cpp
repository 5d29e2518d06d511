// The simulator's own proof: for each invariant, engines that break it on purpose are found out.
#include "engine/mutation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>

#include "world.hpp"

namespace remus::sim {
namespace {

using engine::Mutation;

struct Case {
  Mutation mutation;
  Scenario scenario;
  std::uint64_t within;                 ///< seeds
  std::vector<std::string> invariants;  ///< one of which must be reported
};

void PrintTo(const Case& value, std::ostream* out) {
  *out << engine::to_string(value.mutation);
}

class SimMutations : public testing::TestWithParam<Case> {
 protected:
  void TearDown() override { active_mutation<engine::Mutation> = Mutation::none; }
};

TEST_P(SimMutations, IsCaught) {
  const Case& wanted = GetParam();
  active_mutation<engine::Mutation> = wanted.mutation;
  Coverage coverage;
  for (std::uint64_t seed = 0; seed < wanted.within; ++seed) {
    const auto result = run_seed(seed, wanted.scenario, coverage, nullptr, Disks::modelled);
    if (result.passed) continue;
    const std::string invariant = result.violation.substr(0, result.violation.find(':'));
    EXPECT_NE(std::find(wanted.invariants.begin(), wanted.invariants.end(), invariant),
              wanted.invariants.end())
        << "seed " << seed << " was caught by another rule: " << result.violation;
    active_mutation<engine::Mutation> = Mutation::none;
    EXPECT_TRUE(run_seed(seed, wanted.scenario, coverage).passed)
        << "seed " << seed << " fails without the mutation";
    return;
  }
  FAIL() << engine::to_string(wanted.mutation) << " was not caught within " << wanted.within << " seeds";
}

INSTANTIATE_TEST_SUITE_P(
    All, SimMutations,
    testing::Values(Case{Mutation::s1_release_before_ack, Scenario::failstop, 100, {"S1"}},
                    Case{Mutation::s1_ack_before_whole, Scenario::failstop, 100, {"S1"}},
                    Case{Mutation::s2_activate_despite_report, Scenario::failstop, 1'000, {"S2", "S3"}},
                    Case{Mutation::s2_lease_ignored, Scenario::failstop, 2'000, {"S2", "S3"}},
                    Case{Mutation::s2_alone_without_grant, Scenario::exclusive, 2'000, {"S2", "S3"}},
                    Case{Mutation::s2_pass_before_confirmed, Scenario::failstop, 1'000, {"S2"}},
                    Case{Mutation::s2_activate_torn, Scenario::failstop, 1'000, {"S2"}},
                    Case{Mutation::s3_generation_not_raised, Scenario::failstop, 1'000, {"S3"}},
                    Case{Mutation::s3_fence_ignored, Scenario::exclusive, 2'000, {"S3"}},
                    Case{Mutation::s4_apply_memory_only, Scenario::failstop, 1'000, {"S4"}},
                    Case{Mutation::s5_acked_epoch_dropped, Scenario::failstop, 1'000, {"S5", "S2"}},
                    Case{Mutation::s5_activate_before_applied, Scenario::failstop, 2'000, {"S5"}},
                    Case{Mutation::s5_doomed_guest_resynchronized, Scenario::failstop, 1'000, {"S5"}},
                    Case{Mutation::s6_hung_capture_kept, Scenario::failstop, 1'000, {"S6"}}),
    [](const auto& test) { return std::string{engine::to_string(test.param.mutation)}; });

/// A mutation that is added must be added above as well.
TEST(SimMutationList, IsComplete) {
  EXPECT_EQ(std::size(engine::all_mutations), 14U);
}

}  // namespace
}  // namespace remus::sim
