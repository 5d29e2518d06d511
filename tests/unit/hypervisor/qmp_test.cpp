#include "hypervisor/qemu/qmp.hpp"

#include <atomic>
#include <fstream>
#include <thread>

#include "fake_qmp.hpp"

namespace {

using namespace remus;
using namespace remus::hypervisor::qemu;
using namespace remus::test;
using std::chrono::milliseconds;
namespace fs = std::filesystem;

TEST_F(QmpTest, GreetsNegotiatesAndExecutes) {
  serve([](int client) {
    say(client, greeting);
    answer(client, hear(client), nlohmann::json::object());
    const auto command = hear(client);
    EXPECT_EQ(command.at("execute"), "query-x");
    EXPECT_EQ(command.at("arguments").at("a"), 1);
    say(client, R"({"event": "STOP", "timestamp": {"seconds": 2, "microseconds": 5}})"
                "\n");
    answer(client, command, {{"b", 2}});
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp) << qmp.error().text();
  EXPECT_EQ((*qmp)->version().text(), "7.2.22");
  EXPECT_EQ((*qmp)->peer_pid(), ::getpid());
  std::atomic<std::int64_t> stopped{0};
  const auto subscription = (*qmp)->subscribe([&](const Event& event) {
    if (event.name == "STOP") stopped = event.time_us;
  });
  const auto reply = (*qmp)->execute("query-x", {{"a", 1}});
  ASSERT_TRUE(reply) << reply.error().text();
  EXPECT_EQ(reply->at("b"), 2);
  EXPECT_EQ(stopped, 2'000'005);  // events are delivered in the order of the line
  (*qmp)->close();
}

TEST_F(QmpTest, QemusErrorsKeepItsWords) {
  serve([](int client) {
    say(client, greeting);
    answer(client, hear(client), {});
    auto command = hear(client);
    say(client,
        nlohmann::json{{"id", command["id"]}, {"error", {{"class", "GenericError"}, {"desc", "not now"}}}}
                .dump() +
            "\n");
    command = hear(client);
    say(client,
        nlohmann::json{{"id", command["id"]}, {"error", {{"class", "CommandNotFound"}, {"desc", "what?"}}}}
                .dump() +
            "\n");
    command = hear(client);
    say(client, nlohmann::json{{"id", command["id"]}, {"error", 5}}.dump() + "\n");
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp);
  auto reply = (*qmp)->execute("a");
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, Errc::refused);
  EXPECT_NE(reply.error().text().find("not now"), std::string::npos);
  EXPECT_EQ((*qmp)->execute("b").error().kind, Errc::not_found);
  EXPECT_EQ((*qmp)->execute("c").error().kind, Errc::refused);
  (*qmp)->close();
}

TEST_F(QmpTest, ALateReplyIsNobodys) {
  serve([](int client) {
    say(client, greeting);
    answer(client, hear(client), {});
    const auto slow = hear(client);
    const auto quick = hear(client);
    answer(client, slow, "slow");
    answer(client, quick, "quick");
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp);
  EXPECT_EQ((*qmp)->execute("slow", {}, milliseconds{30}).error().kind, Errc::timeout);
  const auto reply = (*qmp)->execute("quick");
  ASSERT_TRUE(reply);
  EXPECT_EQ(*reply, "quick");
  (*qmp)->close();
}

TEST_F(QmpTest, AnArmedCommandIsSentButForItsLastByte) {
  std::atomic<bool> fired{false};
  serve([&](int client) {
    say(client, greeting);
    answer(client, hear(client), {});
    const auto command = hear(client);
    EXPECT_TRUE(fired) << "a line came before it was whole";
    EXPECT_EQ(command.value("execute", ""), "save");
    EXPECT_EQ(command["arguments"]["filename"], "x");
    answer(client, command, "saved");
    answer(client, hear(client), "after");
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp);
  EXPECT_EQ((*qmp)->fire().error().kind, Errc::invalid);
  ASSERT_TRUE((*qmp)->arm("save", {{"filename", "x"}}));
  std::this_thread::sleep_for(milliseconds{20});
  fired = true;
  ASSERT_TRUE((*qmp)->fire());
  const auto reply = (*qmp)->await_fired();
  ASSERT_TRUE(reply) << reply.error().text();
  EXPECT_EQ(*reply, "saved");
  EXPECT_TRUE((*qmp)->fired_is_answered());
  EXPECT_EQ((*qmp)->await_fired().error().kind, Errc::invalid);
  const auto after = (*qmp)->execute("other");
  ASSERT_TRUE(after);
  EXPECT_EQ(*after, "after");
  (*qmp)->close();
}

TEST_F(QmpTest, AnotherCommandTakesAnArmedOneBack) {
  serve([](int client) {
    say(client, greeting);
    answer(client, hear(client), {});
    const auto taken_back = hear(client);
    EXPECT_EQ(taken_back.value("execute", ""), "save");
    EXPECT_TRUE(taken_back.contains("taken-back")) << "what QEMU refuses is not carried out";
    say(client,
        nlohmann::json{{"id", taken_back["id"]}, {"error", {{"class", "GenericError"}, {"desc", "?"}}}}
                .dump() +
            "\n");
    answer(client, hear(client), "other");
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp);
  ASSERT_TRUE((*qmp)->arm("save", {{"filename", "x"}}));
  const auto reply = (*qmp)->execute("query-status");
  ASSERT_TRUE(reply) << reply.error().text();
  EXPECT_EQ(*reply, "other");
  (*qmp)->close();
}

TEST_F(QmpTest, TwoThreadsShareIt) {
  serve([](int client) {
    say(client, greeting);
    answer(client, hear(client), {});
    for (int i = 0; i < 400; ++i) {
      const auto command = hear(client);
      if (!command.is_object()) break;
      answer(client, command, command.at("arguments").at("n"));
    }
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp);
  std::atomic<int> wrong{0};
  const auto work = [&](int from) {
    for (int i = from; i < from + 200; ++i) {
      const auto reply = (*qmp)->execute("echo", {{"n", i}});
      if (!reply || *reply != i) ++wrong;
    }
  };
  std::thread other{work, 1000};
  work(0);
  other.join();
  EXPECT_EQ(wrong, 0);
  (*qmp)->close();
}

TEST_F(QmpTest, EndOfConnectionWakesWhoWaits) {
  serve([](int client) {
    say(client, greeting);
    answer(client, hear(client), {});
    hear(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp);
  std::atomic<bool> told{false};
  (*qmp)->on_closed([&] { told = true; });
  const auto reply = (*qmp)->execute("x", {}, milliseconds{30'000});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, Errc::closed);
  EXPECT_TRUE((*qmp)->closed());
  for (int i = 0; i < 1000 && !told; ++i) std::this_thread::sleep_for(milliseconds{1});
  EXPECT_TRUE(told);
  EXPECT_EQ((*qmp)->execute("y").error().kind, Errc::closed);
}

TEST_F(QmpTest, WrongSocketsAreNamedForWhatTheyAre) {
  auto qmp = Qmp::connect(path_);
  ASSERT_FALSE(qmp);
  EXPECT_EQ(qmp.error().kind, Errc::not_found);
  std::ofstream{path_} << "a file";
  qmp = Qmp::connect(path_);
  ASSERT_FALSE(qmp);
  EXPECT_EQ(qmp.error().kind, Errc::refused);
  EXPECT_NE(qmp.error().text().find("not a socket"), std::string::npos);
  fs::remove(path_);
  // A socket whose owner is gone.
  const int stale = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.native().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(stale, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(stale);
  qmp = Qmp::connect(path_);
  ASSERT_FALSE(qmp);
  EXPECT_EQ(qmp.error().kind, Errc::unreachable);
  EXPECT_FALSE(Qmp::connect(std::string(200, 'x')));
}

TEST_F(QmpTest, ASilentSocketIsGivenUp) {
  serve([](int client) { hang_until_closed(client); });
  const auto qmp = Qmp::connect(path_, milliseconds{100});
  ASSERT_FALSE(qmp);
  EXPECT_EQ(qmp.error().kind, Errc::unreachable);
  EXPECT_NE(qmp.error().text().find("another client may hold it"), std::string::npos);
}

class QmpGarbage : public QmpTest, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Greetings, QmpGarbage,
                         testing::Values("HTTP/1.1 400 Bad Request\r\n", "{}\n", "[1,2]\n", "{\"QMP\": 5}\n",
                                         "{\"QMP\": {\"version\": {\"qemu\": {\"major\": \"x\"}}}}\n", "\n",
                                         "\xff\xfe\n"));

TEST_F(QmpTest, WhatHappensBeforeTheGreetingIsNotTheGreeting) {
  serve([](int client) {
    say(client, R"({"timestamp": {"seconds": 2, "microseconds": 5}, "event": "RESUME"})"
                "\r\n");
    say(client, greeting);
    answer(client, hear(client), {});
    answer(client, hear(client), 7);
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp) << qmp.error().text();
  EXPECT_EQ((*qmp)->execute("x"), 7);
  (*qmp)->close();
}

TEST_P(QmpGarbage, IsNotQmp) {
  serve([](int client) {
    say(client, GetParam());
    hang_until_closed(client);
  });
  const auto qmp = Qmp::connect(path_, milliseconds{2000});
  ASSERT_FALSE(qmp);
  EXPECT_EQ(qmp.error().kind, Errc::corrupt) << qmp.error().text();
}

TEST_F(QmpTest, GarbageLaterEndsTheConnection) {
  serve([](int client) {
    say(client, greeting);
    answer(client, hear(client), {});
    hear(client);
    say(client, R"({"event": 5} {"id": "x"})"
                "\n");
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp);
  EXPECT_EQ((*qmp)->execute("x").error().kind, Errc::closed);
}

TEST_F(QmpTest, AnEndlessLineEndsTheConnection) {
  serve([](int client) {
    say(client, greeting);
    answer(client, hear(client), {});
    hear(client);
    const std::string chunk(1 << 20, 'x');
    for (int i = 0; i < 40; ++i) say(client, chunk);
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp);
  const auto reply = (*qmp)->execute("x", {}, milliseconds{60'000});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, Errc::closed);
  EXPECT_NE(reply.error().text().find("longer than"), std::string::npos);
}

TEST_F(QmpTest, DeepNestingIsNotFollowed) {
  serve([](int client) {
    say(client, greeting);
    answer(client, hear(client), {});
    hear(client);
    say(client, "{\"id\":" + std::string(200'000, '[') + "\n");
    hang_until_closed(client);
  });
  auto qmp = Qmp::connect(path_);
  ASSERT_TRUE(qmp);
  EXPECT_EQ((*qmp)->execute("x").error().kind, Errc::closed);
}

}  // namespace
