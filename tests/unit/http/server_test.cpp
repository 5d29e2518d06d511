// The server on a unix socket, against proper clients and others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "http_fixture.hpp"

namespace remus::http {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using namespace std::chrono_literals;

class ServerOnUnix : public test::HttpTest {
 protected:
  std::string exchange(std::string_view text) {
    const Fd fd = raw();
    send_all(fd, text);
    return read_all(fd);
  }
};

TEST_F(ServerOnUnix, ARequestReachesTheHandlerWithAllItsParts) {
  serve();
  auto c = client();
  const auto answer = c.request({"POST", "/echo?a=1", R"({"x":1})"}, 10s);
  ASSERT_TRUE(answer.has_value()) << answer.error().text();
  EXPECT_EQ(answer->status, 200U);
  EXPECT_EQ(answer->body, R"({"x":1})");
  EXPECT_EQ(answer->headers.at("x-method"), "POST");
  const std::lock_guard lock{mutex};
  EXPECT_EQ(last->query.at("a"), "1");
  EXPECT_EQ(last->headers.at("content-type"), "application/json");
  EXPECT_EQ(last->peer.kind, PeerIdentity::Kind::unix_socket);
  EXPECT_EQ(last->peer.uid, ::getuid());
  EXPECT_EQ(last->peer.pid, ::getpid());
}

TEST_F(ServerOnUnix, TheSocketHasTheModeAskedFor) {
  serve();
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0660U);
}

TEST_F(ServerOnUnix, AStaleSocketIsReplacedALiveOneNot) {
  {
    boost::asio::io_context other;
    Server first{other, [](const Request&, const Responder&) {}};
    ASSERT_TRUE(first.listen_unix(path, 0600).has_value());
    make({});
    const Status second = server->listen_unix(path, 0600);
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().kind, Errc::exists);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  {
    // As a killed server leaves it: bound, and nobody listens.
    const Fd fd{::socket(AF_UNIX, SOCK_STREAM, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  EXPECT_TRUE(server->listen_unix(path, 0600).has_value());
}

TEST_F(ServerOnUnix, AFileThatIsNoSocketIsLeftAlone) {
  std::ofstream{path} << "precious";
  make({});
  EXPECT_FALSE(server->listen_unix(path, 0600).has_value());
  EXPECT_TRUE(std::filesystem::is_regular_file(path));
}

TEST_F(ServerOnUnix, APathTooLongIsRefused) {
  make({});
  EXPECT_EQ(server->listen_unix(dir / std::string(200, 'x'), 0600).error().kind, Errc::invalid);
}

TEST_F(ServerOnUnix, AnAnswerMayComeLaterFromAnotherThread) {
  serve();
  EXPECT_EQ(client().request({"GET", "/later", ""}, 10s)->body, "later");
}

TEST_F(ServerOnUnix, ADroppedOrFailedRequestIsA500) {
  serve();
  for (const char* target : {"/drop", "/throw"}) {
    const auto answer = client().request({"GET", target, ""}, 10s);
    ASSERT_TRUE(answer.has_value()) << answer.error().text();
    EXPECT_EQ(answer->status, 500U);
  }
  EXPECT_THAT(error_of(*client().request({"GET", "/throw", ""}, 10s)).what, HasSubstr("on purpose"));
}

TEST_F(ServerOnUnix, AnUnknownPathCarriesTheErrorAndItsFix) {
  serve();
  const auto answer = client().request({"GET", "/nowhere", ""}, 10s);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status, 404U);
  EXPECT_EQ(error_of(*answer).fix, "look elsewhere");
}

TEST_F(ServerOnUnix, MalformedRequestsAreToldSo) {
  serve();
  for (const char* bad :
       {"nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /\r\n\r\n", "\x16\x03\x01\x02\x00\x01\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: x\r\n\r\n", "GET /%zz HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET nopath HTTP/1.1\r\nConnection: close\r\n\r\n"})
    EXPECT_THAT(exchange(bad), StartsWith("HTTP/1.1 400")) << bad;
  EXPECT_EQ(client().request({"POST", "/echo", "still here"}, 10s)->body, "still here");
}

TEST_F(ServerOnUnix, AnOversizedBodyIsA413) {
  serve();
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body_bytes_max + 1) + "\r\n\r\n";
  EXPECT_THAT(exchange(head + std::string(body_bytes_max + 1, 'x')), StartsWith("HTTP/1.1 413"));
  std::string chunked = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 20; ++i) chunked += "10000\r\n" + std::string(0x10000, 'y') + "\r\n";
  EXPECT_THAT(exchange(chunked), StartsWith("HTTP/1.1 413"));
  EXPECT_EQ(client().request({"POST", "/echo", std::string(body_bytes_max, 'z')}, 20s)->body.size(),
            body_bytes_max);
}

TEST_F(ServerOnUnix, AnOversizedHeaderIsA431) {
  serve();
  EXPECT_THAT(exchange("GET / HTTP/1.1\r\nX: " + std::string(header_bytes_max + 1, 'x') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431"));
}

TEST_F(ServerOnUnix, ASlowClientIsCutOff) {
  ServerOptions options;
  options.idle_timeout = 150ms;
  serve(options);
  const Fd fd = raw();
  send_all(fd, "GET /echo HT");
  EXPECT_EQ(read_all(fd), "");  // ends: the server has closed
}

TEST_F(ServerOnUnix, AClientThatDoesNotReadIsCutOff) {
  ServerOptions options;
  options.write_timeout = 150ms;
  serve(options);
  const Fd fd = raw();
  const int small = 4096;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  send_all(fd,
           "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + std::string(1'000'000, 'x'));
  EXPECT_TRUE(wait_for([this] { return stats().connections == 0; }));
}

TEST_F(ServerOnUnix, RequestsInOneConnectionAreAnsweredInOrder) {
  serve();
  const std::string got = exchange(
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\ntwo");
  ASSERT_NE(got.find("one"), std::string::npos);
  EXPECT_GT(got.find("two"), got.find("one"));
  EXPECT_NE(got.find("two"), std::string::npos);
}

TEST_F(ServerOnUnix, ManyClientsAtOnce) {
  serve();
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t)
    threads.emplace_back([this, t, &good] {
      auto c = client();
      for (int i = 0; i < 25; ++i) {
        const std::string body = std::to_string(t) + "/" + std::to_string(i);
        const auto answer = c.request({"POST", "/echo", body}, 30s);
        if (answer && answer->body == body) ++good;
      }
    });
  for (std::thread& one : threads) one.join();
  EXPECT_EQ(good, 16 * 25);
  EXPECT_EQ(stats().requests, 16U * 25U);
}

TEST_F(ServerOnUnix, TooManyConnectionsAreTurnedAwayWithAReason) {
  ServerOptions options;
  options.connections_max = 2;
  serve(options);
  const Fd first = raw();
  const Fd second = raw();
  ASSERT_TRUE(wait_for([this] { return stats().connections == 2; }));
  EXPECT_THAT(read_all(raw()), AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("too many connections")));
}

TEST_F(ServerOnUnix, StoppingEndsConnectionsAndRemovesTheSocket) {
  serve();
  const Fd fd = raw();
  send_all(fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_for([this] {
    const std::lock_guard lock{mutex};
    return kept.size() == 1;
  }));
  on_server([this] { server->stop(); });
  EXPECT_EQ(read_all(fd), "");
  EXPECT_FALSE(std::filesystem::exists(path));
  kept[0].reply({});  // too late, no harm
}

TEST_F(ServerOnUnix, AStreamGoesOutInChunksAndEnds) {
  serve();
  const std::string got = exchange("GET /count HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(got, HasSubstr("Transfer-Encoding: chunked"));
  EXPECT_THAT(got, HasSubstr("{\"n\":4}"));
  EXPECT_TRUE(got.ends_with("0\r\n\r\n"));
  const std::string old = exchange("GET /count HTTP/1.0\r\n\r\n");
  EXPECT_THAT(old, Not(HasSubstr("chunked")));
  EXPECT_TRUE(old.ends_with("{\"n\":4}\n"));
}

TEST_F(ServerOnUnix, AReaderThatLeavesEndsTheStream) {
  serve();
  {
    const Fd fd = raw();
    send_all(fd, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n");
    char piece[64];
    ASSERT_GT(::read(fd.get(), piece, sizeof piece), 0);
    EXPECT_FALSE(stream_closed);
  }
  EXPECT_TRUE(wait_for([this] { return stream_closed.load(); }));
  EXPECT_FALSE(stream->open());
  EXPECT_FALSE(stream->write("more"));
}

TEST_F(ServerOnUnix, AReaderThatIsTooSlowLosesTheStreamNotTheServerItsMemory) {
  ServerOptions options;
  options.stream_queue_bytes = 64 * 1024;
  serve(options);
  const Fd fd = raw();
  send_all(fd, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_for([this] {
    const std::lock_guard lock{mutex};
    return stream.has_value();
  }));
  std::size_t written = 0;
  const std::string line(1000, 'x');
  while (stream->write(line) && written < (64U << 20)) written += line.size();
  EXPECT_LT(written, 64U << 20);
  EXPECT_TRUE(wait_for([this] { return stream_closed.load(); }));
  EXPECT_TRUE(wait_for([this] { return stats().connections == 0; }));
}

}  // namespace
}  // namespace remus::http
