#include "link/rejection_log.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace remus::link {
namespace {

using std::chrono::seconds;

const RejectionLog::Clock::time_point start{};
const Error garbage{Errc::corrupt, "not TLS", ""};
const Error expired{Errc::denied, "expired", ""};

TEST(RejectionLog, TellsEachAddressAndKindOnceAndThenHowManyThereWere) {
  RejectionLog log;
  const auto first = log.note("10.0.0.1:4000", garbage, start);
  ASSERT_TRUE(first);
  EXPECT_NE(first->find("10.0.0.1:4000"), std::string::npos);
  EXPECT_NE(first->find("not TLS"), std::string::npos);
  EXPECT_FALSE(log.note("10.0.0.1:4001", garbage, start + seconds{1})) << "another port is no other peer";
  EXPECT_FALSE(log.note("10.0.0.1:4002", garbage, start + seconds{9}));
  EXPECT_TRUE(log.note("10.0.0.1:4003", expired, start + seconds{9})) << "another reason is news";
  EXPECT_TRUE(log.note("10.0.0.2:4000", garbage, start + seconds{9})) << "so is another peer";
  const auto later = log.note("10.0.0.1:4004", garbage, start + seconds{11});
  ASSERT_TRUE(later);
  EXPECT_NE(later->find("and 2 like it"), std::string::npos) << *later;
}

TEST(RejectionLog, IsBoundedHoweverManyThereAre) {
  RejectionLog log;
  std::size_t told = 0;
  for (int i = 0; i < 1000; ++i)
    told += log.note(fmt::format("10.0.{}.{}:1", i / 250, i % 250), garbage, start).has_value() ? 1U : 0U;
  EXPECT_EQ(told, RejectionLog::tracked_max);
  const auto later = log.note("10.9.9.9:1", garbage, start + seconds{20});
  ASSERT_TRUE(later) << "what is old makes room";
  EXPECT_NE(later->find("and 936 from others"), std::string::npos) << *later;
}

}  // namespace
}  // namespace remus::link
