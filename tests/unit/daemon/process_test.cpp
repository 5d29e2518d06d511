#include "daemon/process.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>

namespace remus::daemon {
namespace {

TEST(Process, ItsEndIsNoticedAndExplained) {
  boost::asio::io_context io{1};
  const auto pid = spawn_detached("/bin/sh", {"-c", "exit 7"});
  ASSERT_TRUE(pid.has_value());
  bool ended = false;
  auto watch = ProcessWatch::open(io, *pid, 0, [&] { ended = true; });
  ASSERT_TRUE(watch.has_value());
  io.run_for(std::chrono::seconds{20});
  EXPECT_TRUE(ended);
  EXPECT_FALSE((*watch)->alive());
  EXPECT_EQ((*watch)->end(), "exit status 7");
}

TEST(Process, AliveIsTheTruthOfTheMoment) {
  boost::asio::io_context io{1};
  const auto pid = spawn_detached("/bin/sleep", {"100"});
  ASSERT_TRUE(pid.has_value());
  EXPECT_EQ(::getsid(*pid), *pid) << "in a session of its own";
  auto watch = ProcessWatch::open(io, *pid, start_ticks(*pid), [] {});
  ASSERT_TRUE(watch.has_value());
  EXPECT_TRUE((*watch)->alive());
  (*watch)->kill();
  io.run_for(std::chrono::seconds{20});
  EXPECT_FALSE((*watch)->alive());
  EXPECT_EQ((*watch)->end(), "signal 9 (Killed)");
}

TEST(Process, APidThatWasUsedAgainIsAnotherProcess) {
  boost::asio::io_context io{1};
  EXPECT_FALSE(ProcessWatch::open(io, ::getpid(), start_ticks(::getpid()) + 1, [] {}).has_value());
  EXPECT_FALSE(ProcessWatch::open(io, 0, 0, [] {}).has_value());
  EXPECT_NE(start_ticks(::getpid()), 0U);
  EXPECT_EQ(start_ticks(0x3fffffff), 0U);
}

TEST(Process, AProgramThatIsNotThereIsAnError) {
  EXPECT_FALSE(spawn_detached("/nonexistent/remus-guard", {}).has_value());
}

}  // namespace
}  // namespace remus::daemon
