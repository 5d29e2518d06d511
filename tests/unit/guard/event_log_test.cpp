#include "guard/event_log.hpp"

#include <gtest/gtest.h>

namespace remus::guard {
namespace {

nlohmann::json only_event(const EventLog& log) {
  const auto events = log.after(0)["events"];
  EXPECT_EQ(events.size(), 1U);
  return events.at(0);
}

TEST(EventLog, TellsOfAChangeOfStateAndWhy) {
  EventLog log{"web1", Side::primary};
  log.state("protected", "interrupted", "the link is lost");
  const auto event = only_event(log);
  EXPECT_EQ(event["text"], "protected → interrupted: the link is lost");
  EXPECT_EQ(event["data"],
            (nlohmann::json{{"from", "protected"}, {"to", "interrupted"}, {"reason", "the link is lost"}}));
}

TEST(EventLog, TellsOfANewReasonForTheSameStateWithoutAnArrow) {
  EventLog log{"web1", Side::primary};
  log.state("interrupted", "interrupted", "the arbiter cannot be asked now");
  const auto event = only_event(log);
  EXPECT_EQ(event["text"], "interrupted: the arbiter cannot be asked now");
  EXPECT_EQ(event["data"]["from"], event["data"]["to"]);
}

}  // namespace
}  // namespace remus::guard
