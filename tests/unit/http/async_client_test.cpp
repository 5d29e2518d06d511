// The asynchronous client on its own loop, against a server on another thread.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http_fixture.hpp"

namespace remus::http {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

class Asynchronous : public test::HttpTest {
 protected:
  void TearDown() override {
    async.reset();
    HttpTest::TearDown();
  }
  void begin(std::size_t queue_max = 8) {
    async = std::make_unique<AsyncClient>(loop, UnixEndpoint{path}, queue_max);
  }
  void ask(const std::string& target, std::chrono::milliseconds timeout = 20s,
           const std::string& method = "GET", const std::string& body = "") {
    async->request({method, target, body}, timeout,
                   [this](Result<Response> r) { answers.push_back(std::move(r)); });
  }
  [[nodiscard]] bool run_until_answers(std::size_t count) {
    const auto end = std::chrono::steady_clock::now() + test::patience;
    while (answers.size() < count && std::chrono::steady_clock::now() < end) {
      loop.restart();
      loop.run_one_for(20ms);
    }
    return answers.size() >= count;
  }

  boost::asio::io_context loop{1};
  std::unique_ptr<AsyncClient> async{};
  std::vector<Result<Response>> answers{};
};

TEST_F(Asynchronous, RequestsShareOneConnectionAndKeepTheirOrder) {
  serve();
  begin();
  for (const char* body : {"a", "b", "c"}) ask("/echo", 20s, "POST", body);
  EXPECT_EQ(async->pending(), 3U);
  EXPECT_TRUE(answers.empty());
  ASSERT_TRUE(run_until_answers(3));
  EXPECT_EQ(answers[0]->body, "a");
  EXPECT_EQ(answers[2]->body, "c");
  EXPECT_EQ(stats().connections, 1U);
}

TEST_F(Asynchronous, ATimeoutConcernsOneRequestAndTheNextGoesOn) {
  serve();
  begin();
  ask("/never", 100ms);
  ask("/echo", 20s, "POST", "next");
  ASSERT_TRUE(run_until_answers(2));
  EXPECT_EQ(answers[0].error().kind, Errc::timeout);
  EXPECT_EQ(answers[1]->body, "next");
}

TEST_F(Asynchronous, ARequestMayTimeOutWhileWaitingInTheQueue) {
  serve();
  begin();
  ask("/never");
  ask("/echo", 50ms, "POST", "impatient");
  ASSERT_TRUE(run_until_answers(1));
  EXPECT_EQ(answers[0].error().kind, Errc::timeout);
  EXPECT_THAT(answers[0].error().what, HasSubstr("/echo"));
}

TEST_F(Asynchronous, TheQueueIsBounded) {
  serve();
  begin(2);
  for (int i = 0; i < 4; ++i) ask("/echo", 20s, "POST", std::to_string(i));
  ASSERT_TRUE(run_until_answers(4));
  int refused = 0;
  for (const auto& answer : answers) refused += !answer && answer.error().kind == Errc::exhausted ? 1 : 0;
  EXPECT_EQ(refused, 1);
}

TEST_F(Asynchronous, AKeptConnectionTheServerClosedIsReplaced) {
  serve();
  begin();
  ask("/who");
  ASSERT_TRUE(run_until_answers(1));
  ASSERT_TRUE(answers[0].has_value()) << answers[0].error().text();
  on_server([this] {
    server.reset();
    make({});
    EXPECT_TRUE(server->listen_unix(path, 0660));
  });
  ask("/who");
  ASSERT_TRUE(run_until_answers(2));
  EXPECT_TRUE(answers[1].has_value()) << answers[1].error().text();
}

TEST_F(Asynchronous, NobodyThereIsAnErrorEachTimeAndRecovers) {
  begin();
  ask("/who");
  ASSERT_TRUE(run_until_answers(1));
  EXPECT_EQ(answers[0].error().kind, Errc::unreachable);
  serve();
  ask("/who");
  ASSERT_TRUE(run_until_answers(2));
  EXPECT_TRUE(answers[1].has_value());
}

TEST_F(Asynchronous, DisconnectingFailsWhatIsUnderWayAndGoesOnWithTheRest) {
  serve();
  begin();
  ask("/never");
  ask("/who");
  for (int i = 0; i < 5; ++i) loop.run_one_for(20ms);
  async->disconnect();
  ASSERT_TRUE(run_until_answers(2));
  EXPECT_EQ(answers[0].error().kind, Errc::closed);
  EXPECT_TRUE(answers[1].has_value());
}

TEST_F(Asynchronous, NoCallbackAfterTheClientIsGone) {
  serve();
  begin();
  ask("/never", 100ms);
  ask("/who");
  loop.run_one_for(20ms);
  async.reset();
  const auto called_before = answers.size();  // where the machine was busy elsewhere for longer than that
  loop.restart();
  loop.run_for(200ms);
  EXPECT_EQ(answers.size(), called_before);
}

TEST_F(Asynchronous, ACallbackMayDestroyTheClient) {
  serve();
  begin();
  bool called = false;
  async->request({"GET", "/who", ""}, 20s, [&](const Result<Response>&) {
    called = true;
    async.reset();
  });
  const auto end = std::chrono::steady_clock::now() + test::patience;
  while (!called && std::chrono::steady_clock::now() < end) loop.run_one_for(20ms);
  EXPECT_TRUE(called);
}

}  // namespace
}  // namespace remus::http
