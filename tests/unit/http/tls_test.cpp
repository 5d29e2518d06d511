// Host to host: mutual TLS, and who is who.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http_fixture.hpp"
#include "link/certificates.hpp"

namespace remus::http {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

class OverTls : public test::HttpTest {
 protected:
  void SetUp() override {
    HttpTest::SetUp();
    ASSERT_TRUE(link::create_ca(dir / "ca", "cluster").has_value());
    issue("host-a", "a", "ca");
    issue("host-b", "b", "ca");
    make({});
    const auto opened = server->listen_tls({"127.0.0.1", 0}, open("b"));
    ASSERT_TRUE(opened.has_value()) << opened.error().text();
    port = *opened;
    run();
  }
  void issue(const std::string& host, const std::string& to, const std::string& ca) {
    const auto issued = link::issue_host_certificate(dir / ca, {host, {}, {}, 10}, dir / to);
    ASSERT_TRUE(issued.has_value()) << issued.error().text();
  }
  std::shared_ptr<link::Pki> open(const std::string& name) {
    auto pki = link::Pki::open(dir / name);
    EXPECT_TRUE(pki.has_value());
    return pki ? *pki : nullptr;
  }
  Client tls_client(const std::string& pki, const std::string& expected) {
    return Client{TlsEndpoint{{"127.0.0.1", port}, expected, open(pki)}};
  }
  std::uint16_t port{};
};

TEST_F(OverTls, TheHandlerLearnsTheHostsName) {
  auto c = tls_client("a", "host-b");
  for (int i = 0; i < 3; ++i) {
    const auto answer = c.request({"GET", "/who", ""}, 20s);
    ASSERT_TRUE(answer.has_value()) << answer.error().text();
    EXPECT_EQ(answer->body, "host-a");
  }
  const std::lock_guard lock{mutex};
  EXPECT_EQ(last->peer.kind, PeerIdentity::Kind::tls);
  EXPECT_EQ(last->peer.fingerprint_sha256.size(), 64U);
  EXPECT_THAT(last->peer.address, HasSubstr("127.0.0.1:"));
}

TEST_F(OverTls, ALargeBodyGoesBothWays) {
  const auto answer =
      tls_client("a", "host-b").request({"POST", "/echo", std::string(body_bytes_max, 'q')}, 30s);
  ASSERT_TRUE(answer.has_value()) << answer.error().text();
  EXPECT_EQ(answer->body.size(), body_bytes_max);
}

TEST_F(OverTls, StreamsWorkToo) {
  int lines = 0;
  const Status done = tls_client("a", "host-b").stream({"GET", "/count", ""}, 20s, [&](std::string_view) {
    ++lines;
    return true;
  });
  EXPECT_TRUE(done.has_value()) << done.error().text();
  EXPECT_EQ(lines, 5);
}

TEST_F(OverTls, AnotherHostThanExpectedIsRefused) {
  const auto answer = tls_client("a", "host-c").request({"GET", "/who", ""}, 20s);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().kind, Errc::denied);
  EXPECT_THAT(answer.error().what, HasSubstr("is for host-b, expected was host-c"));
}

TEST_F(OverTls, AForeignHostGetsNothing) {
  ASSERT_TRUE(link::create_ca(dir / "ca2", "cluster").has_value());
  issue("host-x", "x", "ca2");
  const auto answer = tls_client("x", "").request({"GET", "/who", ""}, 20s);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().kind, Errc::denied);
  EXPECT_TRUE(wait_for([this] { return stats().rejected == 1; }));
  EXPECT_EQ(stats().requests, 0U);
}

TEST_F(OverTls, NobodyThereIsUnreachable) {
  const auto answer =
      Client{TlsEndpoint{{"127.0.0.1", 1}, "host-b", open("a")}}.request({"GET", "/who", ""}, 20s);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().kind, Errc::unreachable);
}

TEST_F(OverTls, AnAsynchronousClientKeepsItsConnection) {
  boost::asio::io_context loop{1};
  AsyncClient async{loop, TlsEndpoint{{"127.0.0.1", port}, "host-b", open("a")}};
  int good = 0;
  for (int round = 0; round < 10; ++round) {
    bool answered = false;
    async.request({"GET", "/who", ""}, 20s, [&](Result<Response> r) {
      answered = true;
      good += r && r->body == "host-a" ? 1 : 0;
    });
    const auto end = std::chrono::steady_clock::now() + test::patience;
    while (!answered && std::chrono::steady_clock::now() < end) {
      loop.restart();
      loop.run_one_for(20ms);
    }
  }
  EXPECT_EQ(good, 10);
  EXPECT_EQ(stats().connections, 1U);
}

}  // namespace
}  // namespace remus::http
