// The guard's end of remus-xen-standby, against shell scripts in its place.
#include "hypervisor/xen/restore_process.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <thread>

#include "hypervisor/xen/standby_record.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor::xen;
using namespace std::chrono_literals;
using testing::HasSubstr;
namespace fs = std::filesystem;

class RestoreProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/remus-restore-XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  void TearDown() override { fs::remove_all(directory_); }

  /// `text` speaks by >&3, hears by <&3, and reads the stream from stdin.
  RestoreProcess started(const std::string& text) const {
    const fs::path script = directory_ / "restorer";
    std::ofstream{script} << "#!/bin/sh\n" << text << '\n';
    fs::permissions(script, fs::perms::owner_all);
    auto process = RestoreProcess::start(script, "/dev/null", "web1", log());
    EXPECT_TRUE(process) << process.error().text();
    return std::move(*process);
  }
  fs::path log() const { return directory_ / "log"; }

  fs::path directory_{};
};

TEST_F(RestoreProcessTest, WordsGoBothWays) {
  auto process = started("echo created 7 >&3; read word <&3; echo \"$word\" > " +
                         (directory_ / "heard").native() + "; echo running >&3");
  EXPECT_EQ(process.await("created", 10s).value_or("none"), "7");
  ASSERT_TRUE(process.release());
  EXPECT_TRUE(process.await("running", 10s));
  std::string heard;
  std::getline(std::ifstream{directory_ / "heard"}, heard);
  EXPECT_EQ(heard, "run");
}

TEST_F(RestoreProcessTest, StreamArrivesWholeAndItsEndIsSeen) {
  auto process = started("wc -c | tr -d ' ' >&3; echo over >&3");
  ASSERT_TRUE(process.feed(std::vector<std::byte>(9 << 20), 30s));
  ASSERT_TRUE(process.drained(30s));
  EXPECT_FALSE(process.spoke());
  process.end_stream();
  EXPECT_TRUE(process.await("9437184", 30s));
  EXPECT_TRUE(process.await("over", 30s));
}

TEST_F(RestoreProcessTest, FailureIsToldInLibxlsWords) {
  auto process = started(
      "echo 'xc: detail: fine' >&2; echo 'libxl: error: no memory for it' >&2; echo failed badly >&3");
  const auto word = process.await("created", 10s);
  ASSERT_FALSE(word);
  EXPECT_THAT(word.error().text(), HasSubstr("badly"));
  EXPECT_THAT(word.error().text(), HasSubstr("no memory for it"));
  EXPECT_THAT(word.error().text(), testing::Not(HasSubstr("fine")));
}

TEST_F(RestoreProcessTest, DeathIsAnErrorWhereverItIsMet) {
  auto waiting = started("exit 1");
  EXPECT_FALSE(waiting.await("created", 10s));
  auto feeding = started("exit 1");
  Status fed{};
  while (fed) fed = feeding.feed(std::vector<std::byte>(1 << 20), 10s);
  EXPECT_NE(fed.error().kind, Errc::timeout);
  auto draining = started("sleep 0.2; exit 1");
  ASSERT_TRUE(draining.feed(std::vector<std::byte>(1000), 10s));
  EXPECT_FALSE(draining.drained(10s));
}

TEST_F(RestoreProcessTest, SilenceAndFullPipesHaveABound) {
  auto process = started("read word <&3");
  const auto word = process.await("created", 50ms);
  ASSERT_FALSE(word);
  EXPECT_EQ(word.error().kind, Errc::timeout);
  const auto fed = process.feed(std::vector<std::byte>(64 << 20), 50ms);
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().kind, Errc::timeout);
  const auto drained = process.drained(50ms);
  ASSERT_FALSE(drained);
  EXPECT_EQ(drained.error().kind, Errc::timeout);
  EXPECT_TRUE(process.running());
  EXPECT_FALSE(process.spoke());
  process.let_go();  // it hears the guard's end
  for (int i = 0; i < 1000 && process.running(); ++i) std::this_thread::sleep_for(10ms);
  EXPECT_FALSE(process.running());
}

TEST_F(RestoreProcessTest, BabbleIsRefused) {
  auto process = started("head -c 100000 /dev/zero >&3; read word <&3");
  EXPECT_FALSE(process.await("created", 10s));
  auto wrong = started("echo hello >&3; read word <&3");
  const auto word = wrong.await("created", 10s);
  ASSERT_FALSE(word);
  EXPECT_THAT(word.error().text(), HasSubstr("hello"));
}

TEST_F(RestoreProcessTest, ComplaintsAreBounded) {
  {
    std::ofstream out{log()};
    for (int i = 0; i < 1000; ++i) out << "libxl: error: complaint number " << i << '\n';
  }
  const std::string text = complaints_in(log());
  EXPECT_THAT(text, HasSubstr("number 0;"));
  EXPECT_LE(text.size(), 700U);
  EXPECT_EQ(complaints_in(directory_ / "none"), "");
}

TEST_F(RestoreProcessTest, RecordIsKeptWholeAndDamageIsSaid) {
  const fs::path file = directory_ / "standby.json";
  EXPECT_FALSE(load_record(file).value());
  ASSERT_TRUE(save_record(file, {.pid = 12, .start_time = 34, .activated = true, .domid = 56, .uuid = "u"}));
  const auto record = load_record(file).value();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->pid, 12);
  EXPECT_EQ(record->start_time, 34U);
  EXPECT_TRUE(record->activated);
  EXPECT_EQ(record->domid, 56U);
  EXPECT_EQ(record->uuid, "u");
  std::ofstream{file} << "{\"pid\": 1}";
  ASSERT_FALSE(load_record(file));
  EXPECT_EQ(load_record(file).error().kind, Errc::corrupt);
}

}  // namespace
