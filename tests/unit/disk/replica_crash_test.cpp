// The power fails, or an error is reported, at every single step of a backup's life with replicas.
#include "disk/mutation.hpp"
#include "replica_run.hpp"

namespace remus::disk {
namespace {

using namespace test;

class ReplicaCrash : public testing::Test {
 protected:
  remus::test::TempDir directory;
  std::shared_ptr<ChunkPool> pool = small_pool(directory, 16, 0);

  std::uint64_t steps_of(const Script& script, std::uint64_t seed) {
    ReplicaRun whole{script, seed};
    whole.run();
    return whole.storage.steps();
  }
  /// The first seed and step at which S4 is broken; empty: none.
  std::string search(std::uint64_t seeds, bool errors) {
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
      const Script script = make_script(seed, pool);
      const std::uint64_t steps = steps_of(script, seed);
      for (std::uint64_t step = 0; step <= steps; ++step) {
        ReplicaRun run{script, seed};
        if (errors) {
          run.storage.fail_at(step, step % 2 == 0 ? Errc::io : Errc::exhausted);
        } else {
          run.storage.cut_at(step);
        }
        run.run();
        if (auto wrong = run.cut_and_check(); !wrong.empty())
          return "seed " + std::to_string(seed) + " step " + std::to_string(step) + ": " + wrong;
      }
    }
    return {};
  }
};

TEST_F(ReplicaCrash, APowerCutAtAnyStepLeavesWholeEpochsAndAllThatWereSaidToSurvive) {
  EXPECT_EQ(search(lives(), false), "");
}

TEST_F(ReplicaCrash, AnErrorAtAnyStepLosesNothing) {
  EXPECT_EQ(search(lives(), true), "");
}

/// An error in the midst does not keep the run from its end: after one more attempt everything is there.
TEST_F(ReplicaCrash, AFullDiskIsGotOver) {
  std::uint64_t completed = 0;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    const Script script = make_script(seed, pool);
    const std::uint64_t steps = steps_of(script, seed);
    for (std::uint64_t step = 0; step < steps; ++step) {
      ReplicaRun run{script, seed};
      run.storage.fail_at(step, Errc::exhausted);
      run.run();
      if (!run.activated) continue;
      ++completed;
      ASSERT_EQ(run.check_disks(script.sessions.back().epochs[*run.activated].after), "")
          << "seed " << seed << " step " << step;
    }
  }
  EXPECT_GT(completed, 100U);
}

/// A copy by comparison leaves it out, for the replica holds it; but nobody has made it durable yet.
TEST_F(ReplicaCrash, WhatADeadProcessCopiedIsDurableBeforeItIsPartOfAnEpoch) {
  constexpr std::uint64_t disk_bytes = 64 * 1024;
  const Bytes data = pattern(disk_bytes, 5);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    sim::CrashStorage storage{seed};
    must(must(storage.create("disk"))->resize(disk_bytes));
    must(storage.synchronize());
    const auto open = [&] {
      std::vector<ReplicaDisk> disks;
      disks.push_back({"disk", must(storage.open("disk")), disk_bytes});
      return must(ReplicaSet::open(storage, std::move(disks)));
    };
    {
      auto set = open();
      must(set->begin_session(1));
      WriteLog log{{disk_bytes}, pool};
      must(log.write(0, data));
      BatchList batches;
      WriteBatchEncoder encoder{checkpoint::Compression::lz4, 1'000'000'000};
      must(encoder.encode(0, *log.portion(log.mark()), batches));
      for (const Bytes& payload : batches.list) must(set->synchronize(payload));
    }
    auto set = open();
    must(set->begin_session(2));
    Bytes found(disk_bytes);
    must(set->file(0).read(0, found));
    ASSERT_EQ(found, data) << "all of it is left out";
    must(set->commit(0, 0));
    must(set->apply(0));
    ASSERT_EQ(set->survives(), 1U);
    set.reset();
    storage.power_cut();
    set = open();
    ASSERT_EQ(must(set->recover()).epoch, 0U);
    must(set->file(0).read(0, found));
    ASSERT_EQ(found, data) << "seed " << seed;
  }
}

#ifdef REMUS_FAULTS
class ReplicaMutations : public ReplicaCrash, public testing::WithParamInterface<Mutation> {
 protected:
  void TearDown() override { active_mutation<Mutation> = Mutation::none; }
};

TEST_P(ReplicaMutations, IsCaught) {
  active_mutation<Mutation> = GetParam();
  EXPECT_NE(search(60, false), "");
}

INSTANTIATE_TEST_SUITE_P(All, ReplicaMutations, testing::ValuesIn(all_mutations),
                         [](const auto& test) { return std::string{to_string(test.param)}; });
#endif

}  // namespace
}  // namespace remus::disk
