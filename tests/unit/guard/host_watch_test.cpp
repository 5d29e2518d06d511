#include "guard/host_watch.hpp"

#include <gtest/gtest.h>

namespace remus::guard {
namespace {

using std::chrono::milliseconds;

TEST(ReportInterval, IsAFifthOfTheShortestDetectionWithinBounds) {
  EXPECT_EQ(report_interval(milliseconds{250}), milliseconds{50});
  EXPECT_EQ(report_interval(milliseconds{1000}), milliseconds{200});
  EXPECT_EQ(report_interval(milliseconds{10}), milliseconds{50});
  EXPECT_EQ(report_interval(std::chrono::seconds{60}), milliseconds{500});
}

}  // namespace
}  // namespace remus::guard
