// The commands against a daemon played by a real HTTP server.
#include "cli/run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "guard/options.hpp"
#include "http/server.hpp"

namespace remus::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class FakeDaemon {
 public:
  FakeDaemon()
      : socket_{std::filesystem::temp_directory_path() / ("remus-cli-test-" + std::to_string(::getpid()))} {
    if (!server_.listen_unix(socket_, 0600)) throw std::runtime_error{"listen"};
    thread_ = std::thread{[this] { io_.run(); }};
  }
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;
  ~FakeDaemon() {
    io_.stop();
    thread_.join();
  }

  [[nodiscard]] const std::filesystem::path& socket() const { return socket_; }
  void answer(http::Response response) {
    const std::lock_guard lock{mutex_};
    answers_.push_back(std::move(response));
  }
  [[nodiscard]] std::vector<http::Request> asked() {
    const std::lock_guard lock{mutex_};
    return asked_;
  }

 private:
  void serve(http::Request request, const http::Responder& responder) {
    const std::lock_guard lock{mutex_};
    asked_.push_back(std::move(request));
    // The last answer serves for all further questions.
    auto response = answers_.empty() ? http::Response{200, "{}"} : answers_.front();
    if (answers_.size() > 1) answers_.erase(answers_.begin());
    responder.reply(std::move(response));
  }

  std::filesystem::path socket_;
  std::mutex mutex_;
  std::vector<http::Response> answers_;
  std::vector<http::Request> asked_;
  boost::asio::io_context io_{1};
  http::Server server_{io_, [this](http::Request request, http::Responder responder) {
                         serve(std::move(request), responder);
                       }};
  std::thread thread_;
};

class RunTest : public testing::Test {
 protected:
  int run(Command command, bool as_json = false) {
    Arguments arguments;
    arguments.command = std::move(command);
    arguments.socket = daemon_.socket();
    arguments.json = as_json;
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = cli::run(arguments);
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return status;
  }

  FakeDaemon daemon_;
  std::string out_;
  std::string err_;
};

TEST_F(RunTest, ProtectSendsWhatWasSaidAndWaits) {
  daemon_.answer({200, R"({"name": "web1", "guard": null})"});
  daemon_.answer(
      {200,
       R"({"name": "web1", "text": "synchronizing 10 %", "protected": false, "guard": {"sync": {"done_bytes": 10, "total_bytes": 100}}})"});
  daemon_.answer(
      {200, R"({"name": "web1", "peer": "hostB", "text": "protected", "protected": true, "guard": null})"});
  Protect words;
  words.guest = "web1";
  words.to = "hostB";
  words.qmp = "/run/x";
  words.options = {{"interval", "50ms"}};
  EXPECT_EQ(run(words), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("synchronizing 10 %\n"));
  EXPECT_THAT(out_, HasSubstr("web1 is protected to hostB"));
  const auto asked = daemon_.asked();
  EXPECT_EQ(asked[0].method, "POST");
  EXPECT_EQ(
      json::parse(asked[0].body),
      json::parse(R"({"name": "web1", "to": "hostB", "qmp": "/run/x", "options": {"interval": "50ms"}})"));
  EXPECT_EQ(asked[1].path, "/v1/guests/web1");
}

TEST_F(RunTest, ProtectNamesTheArbiterOnceInItsWarning) {
  daemon_.answer(
      {200, json{{"name", "web1"},
                 {"guard",
                  {{"arbiter",
                    {{"kind", "fail-stop"}, {"warning", guard::warning_of(guard::ArbiterKind::fail_stop)}}}}}}
                .dump()});
  EXPECT_EQ(run(Protect{"web1", "hostB", "/x", {}, false, false}), 0);
  EXPECT_THAT(err_, HasSubstr("arbiter fail-stop: if every path"));
  EXPECT_EQ(err_.find("fail-stop", err_.find("fail-stop") + 1), std::string::npos) << err_;
}

TEST_F(RunTest, ARefusalIsSaidWithItsFixAndItsExitStatus) {
  daemon_.answer(http::error_response({Errc::refused, "the guest has a passthrough device", "remove it"}));
  EXPECT_EQ(run(Protect{"web1", "hostB", "/x", {}, true, false}), exit_status(Errc::refused));
  EXPECT_THAT(err_, HasSubstr("passthrough device\n       remove it"));
  EXPECT_EQ(run(Show{"web1", false}, true), exit_status(Errc::refused));
  EXPECT_EQ(json::parse(out_)["error"]["kind"], "refused") << "with --json errors are JSON, too";
}

TEST_F(RunTest, VerifyThatFindsDifferencesFails) {
  daemon_.answer(
      {200,
       R"({"epoch": 1, "pages_compared": 10, "pages_different": 0, "different": [], "duration_ms": 1})"});
  EXPECT_EQ(run(Verify{"web1"}), 0);
  daemon_.answer(
      {200,
       R"({"epoch": 1, "pages_compared": 10, "pages_different": 1, "different": [], "duration_ms": 1})"});
  run(Verify{"web1"});
  EXPECT_EQ(run(Verify{"web1"}), exit_not_healthy);
  EXPECT_EQ(daemon_.asked()[0].path, "/v1/guests/web1/verify");
  EXPECT_EQ(json::parse(daemon_.asked()[0].body), json({{"disks", false}}));

  daemon_.answer({200, R"({"epoch": 1, "pages_compared": 10, "pages_different": 0, "different": [],
                          "duration_ms": 1, "blocks_compared": 3, "blocks_different": 1, "different_blocks": []})"});
  EXPECT_EQ(run(Verify{"web1", true}), exit_not_healthy);
  EXPECT_EQ(json::parse(daemon_.asked().back().body), json({{"disks", true}}));
  EXPECT_EQ(run(Verify{"web1", false, 50}), exit_not_healthy);
  EXPECT_EQ(json::parse(daemon_.asked().back().body), json({{"disks", false}, {"max_pause_ms", 50}}));
}

TEST_F(RunTest, DoctorFailsWhenTheHostIsNotHealthy) {
  daemon_.answer({200, R"({"healthy": false, "checks": []})"});
  EXPECT_EQ(run(Doctor{}), exit_not_healthy);
}

TEST_F(RunTest, FailoverDoesNotActUnasked) {
  EXPECT_EQ(run(Failover{"web1", false, false}), exit_status(Errc::invalid));
  EXPECT_TRUE(daemon_.asked().empty());
  daemon_.answer({200, R"({"epoch": 7, "activation_ms": 12})"});
  EXPECT_EQ(run(Failover{"web1", true, true}), 0) << err_;
  EXPECT_EQ(daemon_.asked()[0].body, R"({"force":true})");
  EXPECT_THAT(out_, HasSubstr("UNPROTECTED"));
}

TEST_F(RunTest, Statuses) {
  daemon_.answer({200, R"({"guests": []})"});
  EXPECT_EQ(run(Show{}, true), 0);
  EXPECT_EQ(json::parse(out_), json::parse(R"({"guests": []})"));
  EXPECT_EQ(run(Top{100, 1}), 0);
  EXPECT_EQ(run(Unprotect{"web1", true}), 0);
  EXPECT_EQ(daemon_.asked().back().query.at("force"), "true");
  EXPECT_EQ(run(Events{}), 0);
  EXPECT_EQ(run(Set{"web1", json::object()}), exit_status(Errc::invalid));
}

TEST(RunWithoutDaemon, IsUnreachableAndSaysHowToStartIt) {
  Arguments arguments;
  arguments.command = Show{};
  arguments.socket = "/nonexistent/remusd.sock";
  testing::internal::CaptureStderr();
  const int status = run(arguments);
  EXPECT_NE(status, 0);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("/nonexistent/remusd.sock"));
}

}  // namespace
}  // namespace remus::cli
