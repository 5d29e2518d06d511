#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "arbiter/fail_stop.hpp"
#include "arbiter/manual.hpp"

namespace remus::arbiter {
namespace {

/// A main loop that runs what was posted when told to.
class ArbiterTest : public testing::Test {
 protected:
  Post post() {
    return [this](std::function<void()> work) { posted_.push_back(std::move(work)); };
  }
  void run() {
    const auto work = std::exchange(posted_, {});
    for (const auto& each : work) each();
  }
  std::optional<Verdict> ask(Arbiter& arbiter, Purpose purpose) {
    std::optional<Verdict> said;
    arbiter.claim({"web1", "a", 2, purpose}, [&](Verdict verdict) { said = verdict; });
    EXPECT_FALSE(said) << "answered from within claim()";
    run();
    return said;
  }
  std::vector<std::function<void()>> posted_{};
};

TEST_F(ArbiterTest, FailStopGrantsEverythingLater) {
  FailStop arbiter{post()};
  EXPECT_EQ(ask(arbiter, Purpose::activate), Verdict::granted);
  EXPECT_EQ(ask(arbiter, Purpose::go_alone), Verdict::granted);
  EXPECT_FALSE(arbiter.exclusive());
  EXPECT_EQ(arbiter.name(), "fail-stop");
}

TEST_F(ArbiterTest, ManualWaitsForApprovalAndSpendsIt) {
  Manual arbiter{post()};
  EXPECT_EQ(ask(arbiter, Purpose::activate), Verdict::unavailable);
  arbiter.approve();
  EXPECT_EQ(ask(arbiter, Purpose::activate), Verdict::granted);
  EXPECT_EQ(ask(arbiter, Purpose::activate), Verdict::unavailable) << "one approval, one activation";
}

TEST_F(ArbiterTest, ManualLetsThePrimaryGoAlone) {
  Manual arbiter{post()};
  EXPECT_EQ(ask(arbiter, Purpose::go_alone), Verdict::granted);
  arbiter.approve();
  EXPECT_EQ(ask(arbiter, Purpose::go_alone), Verdict::granted);
  EXPECT_EQ(ask(arbiter, Purpose::activate), Verdict::granted) << "going alone does not spend the approval";
}

TEST_F(ArbiterTest, ManualApprovalCanBeWithdrawn) {
  Manual arbiter{post()};
  arbiter.approve();
  arbiter.withdraw();
  EXPECT_EQ(ask(arbiter, Purpose::activate), Verdict::unavailable);
  EXPECT_FALSE(arbiter.exclusive());
  EXPECT_EQ(arbiter.name(), "manual");
}

}  // namespace
}  // namespace remus::arbiter
