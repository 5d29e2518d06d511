// The proof for disks: replicas that break one rule of S4 are found out, by runs with the product's own journal and
// replicas.
#include <gtest/gtest.h>

#include "disk/mutation.hpp"
#include "world.hpp"

namespace remus::sim {
namespace {

class SimDiskMutations : public testing::TestWithParam<disk::Mutation> {
 protected:
  void TearDown() override { active_mutation<disk::Mutation> = disk::Mutation::none; }
};

TEST_P(SimDiskMutations, IsCaught) {
  active_mutation<disk::Mutation> = GetParam();
  Coverage coverage;
  for (std::uint64_t seed = 0; seed < 4'000; ++seed) {
    const auto result = run_seed(seed, Scenario::failstop, coverage, nullptr, Disks::real);
    if (result.passed) continue;
    EXPECT_EQ(result.violation.substr(0, 2), "S4") << "seed " << seed << ": " << result.violation;
    active_mutation<disk::Mutation> = disk::Mutation::none;
    EXPECT_TRUE(run_seed(seed, Scenario::failstop, coverage, nullptr, Disks::real).passed) << "seed " << seed;
    return;
  }
  FAIL() << disk::to_string(GetParam()) << " was not caught";
}

/// commit_before_whole and replay_torn need batches lost within a connection and damage below whole epochs: the unit
/// tests have them (ReplicaMutations).
INSTANTIATE_TEST_SUITE_P(All, SimDiskMutations,
                         testing::Values(disk::Mutation::apply_before_commit,
                                         disk::Mutation::apply_without_journal_sync,
                                         disk::Mutation::release_without_replica_sync,
                                         disk::Mutation::replay_backwards, disk::Mutation::torn_kept,
                                         disk::Mutation::durable_too_early),
                         [](const auto& test) { return std::string{disk::to_string(test.param)}; });

}  // namespace
}  // namespace remus::sim
