// The blocking client: what the CLI sees when things go well, and when they don't.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "http_fixture.hpp"

namespace remus::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

class BlockingClient : public test::HttpTest {};

TEST_F(BlockingClient, NobodyThereSaysHowToStartIt) {
  const auto none = client().request({"GET", "/", ""}, 5s);
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().kind, Errc::unreachable);
  EXPECT_THAT(none.error().what, HasSubstr(path.string()));
  EXPECT_THAT(none.error().fix, HasSubstr("systemctl start remusd"));
}

TEST_F(BlockingClient, ANoSocketIsSaid) {
  std::ofstream{path} << "x";
  EXPECT_EQ(client().request({"GET", "/", ""}, 5s).error().kind, Errc::unreachable);
  EXPECT_EQ(Client{UnixEndpoint{std::string(300, 'x')}}.request({"GET", "/", ""}, 5s).error().kind,
            Errc::invalid);
}

TEST_F(BlockingClient, NoAnswerInTimeIsATimeout) {
  serve();
  auto c = client();
  const auto none = c.request({"GET", "/never", ""}, 100ms);
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().kind, Errc::timeout);
  EXPECT_THAT(none.error().what, HasSubstr("/never"));
  EXPECT_EQ(c.request({"POST", "/echo", "again"}, 10s)->body, "again");
}

TEST_F(BlockingClient, LinesOfAStreamComeOneByOne) {
  serve();
  std::vector<std::string> lines;
  const Status done = client().stream({"GET", "/count", ""}, 10s, [&](std::string_view line) {
    lines.emplace_back(line);
    return true;
  });
  ASSERT_TRUE(done.has_value()) << done.error().text();
  EXPECT_THAT(lines, ElementsAre(R"({"n":0})", R"({"n":1})", R"({"n":2})", R"({"n":3})", R"({"n":4})"));
}

TEST_F(BlockingClient, ServerSentEventsAreReducedToTheirData) {
  serve();
  std::vector<std::string> lines;
  const Status done = client().stream({"GET", "/endless", ""}, 10s, [&](std::string_view line) {
    lines.emplace_back(line);
    return false;
  });
  ASSERT_TRUE(done.has_value()) << done.error().text();
  EXPECT_THAT(lines, ElementsAre("first"));
  EXPECT_TRUE(wait_for([this] { return stream_closed.load(); }));
}

TEST_F(BlockingClient, ASilentStreamIsATimeout) {
  serve();
  const Status done = client().stream({"GET", "/endless", ""}, 100ms, [](std::string_view) { return true; });
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().kind, Errc::timeout);
}

TEST_F(BlockingClient, AStreamCutInTheMidstIsAnError) {
  serve();
  const Status done = client().stream({"GET", "/endless", ""}, 10s, [this](std::string_view) {
    on_server([this] { server->stop(); });
    return true;
  });
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().kind, Errc::closed);
}

TEST_F(BlockingClient, AStreamThatIsRefusedGivesItsError) {
  serve();
  const Status done = client().stream({"GET", "/nowhere", ""}, 10s, [](std::string_view) { return true; });
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().kind, Errc::not_found);
  EXPECT_EQ(done.error().fix, "look elsewhere");
}

TEST_F(BlockingClient, AnAnswerThatIsNotHttpIsCorrupt) {
  const Fd fd{::socket(AF_UNIX, SOCK_STREAM, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd.get(), 1), 0);
  std::thread other{[&] {
    const Fd peer{::accept(fd.get(), nullptr, nullptr)};
    send_all(peer, "{\"QMP\": {}}\r\n\r\n");
    static_cast<void>(read_all(peer));
  }};
  const auto answer = client().request({"GET", "/", ""}, 10s);
  other.join();
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().kind, Errc::corrupt);
}

}  // namespace
}  // namespace remus::http
