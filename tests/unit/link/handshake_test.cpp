// Who gets in, who does not, and what each side is told. Over real TLS on loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <fstream>

#include "link/connection_impl.hpp"
#include "link/dial.hpp"
#include "link_fixture.hpp"

namespace remus::link {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;
using boost::asio::ip::tcp;

class Handshake : public test::LinkTest {
 protected:
  tcp::socket raw_connection() {
    tcp::socket socket{io};
    socket.connect({boost::asio::ip::make_address("127.0.0.1"), listener->port()});
    return socket;
  }
  /// An enrolled peer that says whatever we like; how the listener ends it.
  Error answer_to(const Message& first) {
    std::shared_ptr<Connection::Impl> liar;
    std::optional<Error> told;
    DialOptions options;
    options.address = {"127.0.0.1", listener->port()};
    const auto dial = Dial::start(io, open("a"), options, [&](Result<Dialed> dialed) {
      ASSERT_TRUE(dialed.has_value()) << dialed.error().text();
      liar = std::make_shared<Connection::Impl>(std::move(dialed->stream), dialed->peer, dialed->remote,
                                                ConnectionOptions{});
      liar->start({{}, {}, [&](Error error) { told = std::move(error); }});
      ASSERT_TRUE(liar->send(first).has_value());
    });
    EXPECT_TRUE(run_until([&] { return told.has_value(); }));
    return told.value_or(Error{});
  }
  /// A context that uses a certificate without looking at it, as a peer that is not ours might.
  boost::asio::ssl::context context_of(const std::string& pki, boost::asio::ssl::context::method method) {
    boost::asio::ssl::context context{method};
    context.use_certificate_chain_file((dir() / pki / "host.crt").string());
    context.use_private_key_file((dir() / pki / "host.key").string(), boost::asio::ssl::context::pem);
    return context;
  }
  /// Begins one and does not care how it ends. The stream lives as long as its operation.
  static void begin_handshake(tcp::socket socket, boost::asio::ssl::context& context,
                              boost::asio::ssl::stream_base::handshake_type role) {
    const auto stream = std::make_shared<TlsStream>(std::move(socket), context);
    stream->async_handshake(role, [stream](boost::system::error_code) {});
  }
  /// Connects with such a certificate and says Hello; what it is told in the end.
  Error told_to_client_with(const std::string& pki) {
    auto context = context_of(pki, boost::asio::ssl::context::tls_client);
    auto stream = std::make_unique<TlsStream>(raw_connection(), context);
    std::shared_ptr<Connection::Impl> client;
    std::optional<Error> told;
    stream->async_handshake(boost::asio::ssl::stream_base::client, [&](boost::system::error_code error) {
      ASSERT_FALSE(error) << error.message();
      client = std::make_shared<Connection::Impl>(std::move(stream), PeerCertificate{}, "host-b",
                                                  ConnectionOptions{});
      client->start({{}, {}, [&](Error closed) { told = std::move(closed); }});
      static_cast<void>(client->send(Hello{}));
    });
    EXPECT_TRUE(run_until([&] { return told.has_value(); }));
    return told.value_or(Error{});
  }
  /// Reads until the other side closes; what came.
  std::string read_to_end(tcp::socket& socket) {
    std::string got;
    std::array<char, 512> piece{};
    bool ended = false;
    std::function<void()> read = [&] {
      socket.async_read_some(boost::asio::buffer(piece), [&](boost::system::error_code error, std::size_t n) {
        got.append(piece.data(), n);
        ended = static_cast<bool>(error);
        if (!error) read();
      });
    };
    read();
    EXPECT_TRUE(run_until([&] { return ended; }));
    return got;
  }
};

TEST_F(Handshake, EnrolledPeersMeet) {
  welcome.backup = {4, engine::BackupState::standby, 77, 12};
  welcome.hypervisor_version = "7.2.22";
  welcome.offers_hashes = true;
  establish();
  EXPECT_EQ(hello->guest, "web1");
  EXPECT_EQ(hello->host, "host-a");
  EXPECT_EQ(hello->generation, 3U);
  EXPECT_EQ(welcomed->host, "host-b");
  EXPECT_EQ(welcomed->backup.held, 12U);
  EXPECT_TRUE(welcomed->offers_hashes);
  EXPECT_EQ(primary->peer().host, "host-b");
  EXPECT_EQ(backup->peer().host, "host-a");
  EXPECT_TRUE(rejected.empty());
}

TEST_F(Handshake, AForeignCaIsNotEnrolled) {
  ASSERT_TRUE(create_ca(dir() / "ca2", "test cluster").has_value());  // the same name does not help
  issue("host-a", "foreign", 10, {}, "ca2");
  listen();
  connector_options.expected_host = "";
  connect("foreign");
  // Each side finds the other foreign; the client is first.
  const Error error = first_failure();
  EXPECT_EQ(error.kind, Errc::denied);
  EXPECT_THAT(error.what, HasSubstr("not enrolled"));
  EXPECT_EQ(first_rejection().kind, Errc::denied);
  EXPECT_FALSE(hello.has_value());
}

TEST_F(Handshake, AForeignPrimaryIsRefusedByTheBackupAndTold) {
  ASSERT_TRUE(create_ca(dir() / "ca2", "other cluster").has_value());
  issue("host-a", "foreign", 10, {}, "ca2");
  listen();
  const Error told = told_to_client_with("foreign");
  EXPECT_EQ(told.kind, Errc::denied);
  EXPECT_THAT(told.what, HasSubstr("was not signed by its cluster's CA"));
  EXPECT_THAT(first_rejection().what, HasSubstr("not signed by this cluster's CA"));
  EXPECT_FALSE(hello.has_value());
}

TEST_F(Handshake, NoCertificateGetsNothing) {
  listen();
  boost::asio::ssl::context context{boost::asio::ssl::context::tls_client};
  begin_handshake(raw_connection(), context, boost::asio::ssl::stream_base::client);
  const Error error = first_rejection();
  EXPECT_EQ(error.kind, Errc::denied);
  EXPECT_THAT(error.what, HasSubstr("showed no certificate"));
}

TEST_F(Handshake, Tls12IsRefused) {
  listen();
  boost::asio::ssl::context context{boost::asio::ssl::context::tls_client};
  SSL_CTX_set_max_proto_version(context.native_handle(), TLS1_2_VERSION);
  begin_handshake(raw_connection(), context, boost::asio::ssl::stream_base::client);
  const Error error = first_rejection();
  EXPECT_EQ(error.kind, Errc::incompatible);
  EXPECT_THAT(error.what, HasSubstr("TLS 1.3"));
}

TEST_F(Handshake, AnExpiredBackupIsRefusedByThePrimary) {
  issue("host-b", "b", -1);
  tcp::acceptor acceptor{io, {boost::asio::ip::make_address("127.0.0.1"), 0}};
  auto context = context_of("b", boost::asio::ssl::context::tls_server);
  acceptor.async_accept([&](boost::system::error_code, tcp::socket socket) {
    begin_handshake(std::move(socket), context, boost::asio::ssl::stream_base::server);
  });
  connector_options.addresses = {{"127.0.0.1", acceptor.local_endpoint().port()}};
  connect();
  const Error error = first_failure();
  EXPECT_EQ(error.kind, Errc::denied);
  EXPECT_THAT(error.what, HasSubstr("host-b"));
  EXPECT_THAT(error.what, HasSubstr("expired on"));
}

TEST_F(Handshake, AnExpiredPrimaryIsRefusedAndTold) {
  issue("host-a", "old", -1);
  listen();
  const Error told = told_to_client_with("old");
  EXPECT_EQ(told.kind, Errc::denied);
  EXPECT_THAT(told.what, HasSubstr("refused this host's certificate: it has expired"));
  EXPECT_THAT(first_rejection().what, HasSubstr("expired on"));
}

TEST_F(Handshake, NotYetValidIsSaid) {
  issue("host-a", "future", 10, std::chrono::hours{48});
  listen();
  EXPECT_EQ(told_to_client_with("future").kind, Errc::denied);
  EXPECT_THAT(first_rejection().what, HasSubstr("not valid before"));
}

TEST_F(Handshake, AnotherHostsNameIsRefusedAndNamed) {
  listen();
  connector_options.expected_host = "host-c";
  connect();
  const Error error = first_failure();
  EXPECT_EQ(error.kind, Errc::denied);
  EXPECT_THAT(error.what, HasSubstr("is for host-b, expected was host-c"));
}

TEST_F(Handshake, AListenerMayExpectOneHostOnly) {
  listener_options.expected_host = "host-z";
  listen();
  connect();
  EXPECT_THAT(first_rejection().what, HasSubstr("is for host-a, expected was host-z"));
  EXPECT_EQ(first_failure().kind, Errc::denied);
  EXPECT_FALSE(hello.has_value());
}

TEST_F(Handshake, ARevokedCertificateIsRefusedWithoutARestartAndTold) {
  establish();
  primary.reset();
  backup.reset();
  hello.reset();
  const auto info = describe_certificate(dir() / "a" / "host.crt");
  ASSERT_TRUE(info.has_value());
  std::ofstream{dir() / "b" / "revoked"} << info->fingerprint_sha256 << "  # host-a\n";
  connector->start();
  const Error told = first_failure();
  EXPECT_EQ(told.kind, Errc::denied);
  EXPECT_THAT(told.what, HasSubstr("it has been revoked"));
  EXPECT_THAT(first_rejection().what, HasSubstr("has been revoked"));
  EXPECT_FALSE(hello.has_value());

  std::filesystem::remove(dir() / "b" / "revoked");
  EXPECT_TRUE(run_until([this] { return primary && backup; }));
}

TEST_F(Handshake, AHelloInAnothersNameIsRefused) {
  listen();
  Hello lie;
  lie.host = "host-c";
  const Error told = answer_to(lie);
  EXPECT_EQ(told.kind, Errc::denied);
  EXPECT_THAT(told.what, HasSubstr("says it is 'host-c', its certificate says host-a"));
  EXPECT_FALSE(hello.has_value());
}

TEST_F(Handshake, AnotherProtocolVersionIsRefusedWithBothRanges) {
  listen();
  Hello newer;
  newer.host = "host-a";
  newer.version_min = newer.version_max = protocol_version_max + 1;
  newer.product_version = "9.9";
  const Error told = answer_to(newer);
  EXPECT_EQ(told.kind, Errc::incompatible);
  EXPECT_THAT(told.what, HasSubstr("Remus 9.9"));
  EXPECT_EQ(first_rejection().kind, Errc::incompatible);
}

TEST_F(Handshake, AnythingButHelloFirstIsRefused) {
  listen();
  EXPECT_EQ(answer_to(Active{1, 2, 3}).kind, Errc::corrupt);
  EXPECT_FALSE(hello.has_value());
}

TEST_F(Handshake, GarbageInPlainTextGetsNothing) {
  listen();
  auto socket = raw_connection();
  boost::asio::write(socket, boost::asio::buffer(std::string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n"}));
  const Error error = first_rejection();
  EXPECT_EQ(error.kind, Errc::corrupt);
  EXPECT_THAT(error.what, HasSubstr("is not TLS"));
  EXPECT_LE(read_to_end(socket).size(), 16U);  // a TLS alert at most
}

TEST_F(Handshake, ATruncatedHandshakeIsNoHarm) {
  listen();
  {
    auto socket = raw_connection();
    const std::array<unsigned char, 9> half{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc};
    boost::asio::write(socket, boost::asio::buffer(half));
  }
  EXPECT_EQ(first_rejection().kind, Errc::unreachable);
  connect();
  EXPECT_TRUE(run_until([this] { return primary && backup; }));
}

TEST_F(Handshake, APeerThatTricklesIsCutOffInTime) {
  listener_options.handshake_timeout = 200ms;
  listen();
  auto socket = raw_connection();
  boost::asio::steady_timer timer{io};
  std::function<void()> trickle = [&] {
    timer.expires_after(20ms);
    timer.async_wait([&](boost::system::error_code error) {
      if (error) return;
      boost::system::error_code ignored;
      const char byte = 0x16;
      socket.write_some(boost::asio::buffer(&byte, 1), ignored);
      trickle();
    });
  };
  // The first bytes of a proper record, so that only time can tell.
  const std::array<unsigned char, 5> record{0x16, 0x03, 0x01, 0x20, 0x00};
  boost::asio::write(socket, boost::asio::buffer(record));
  trickle();
  const Error error = first_rejection();
  EXPECT_EQ(error.kind, Errc::timeout);
  timer.cancel();
  io.poll();
}

TEST_F(Handshake, SilentConnectionsDoNotKeepAPeerOut) {
  listener_options.handshakes_max = 4;
  listener_options.handshake_timeout = 20s;
  listen();
  std::vector<tcp::socket> silent;
  for (int i = 0; i < 10; ++i) silent.push_back(raw_connection());
  connect();
  ASSERT_TRUE(run_until([this] { return primary && backup; }));
  ASSERT_GE(rejected.size(), 6U);
  EXPECT_EQ(rejected.front().kind, Errc::exhausted);
}

TEST_F(Handshake, ARefusalReachesThePrimaryWithItsFix) {
  on_incoming = [](Incoming incoming) {
    std::move(incoming).refuse({Errc::incompatible, "QEMU 7.2 here, 8.0 there", "install the same QEMU"});
  };
  listen();
  connect();
  const Error error = first_failure();
  EXPECT_EQ(error.kind, Errc::incompatible);
  EXPECT_THAT(error.what, HasSubstr("QEMU 7.2 here"));
  EXPECT_EQ(error.fix, "install the same QEMU");
}

TEST_F(Handshake, DroppingAPeerUnansweredClosesIt) {
  on_incoming = [](const Incoming&) {};
  listen();
  connect();
  EXPECT_NE(first_failure().what, "");
}

TEST_F(Handshake, ThePrimaryTriesAllAddressesAndSaysWhyEachFailed) {
  listen();
  tcp::acceptor closed{io, {boost::asio::ip::make_address("127.0.0.1"), 0}};
  const std::uint16_t nobody = closed.local_endpoint().port();
  closed.close();
  connector_options.addresses = {{"127.0.0.1", nobody}, {"127.0.0.1", listener->port()}};
  connect();
  EXPECT_TRUE(run_until([this] { return primary && backup; }));

  failed.clear();
  primary.reset();
  connector_options.addresses = {{"127.0.0.1", nobody}, {"no-such-host.invalid", 1}};
  connect();
  const Error error = first_failure();
  EXPECT_EQ(error.kind, Errc::unreachable);
  EXPECT_THAT(error.what, HasSubstr("refused"));
  EXPECT_THAT(error.what, HasSubstr("no-such-host.invalid:1"));
}

TEST_F(Handshake, APrimaryComesBackWhenTheBackupDoes) {
  tcp::acceptor probe{io, {boost::asio::ip::make_address("127.0.0.1"), 0}};
  const std::uint16_t port = probe.local_endpoint().port();
  probe.close();
  connector_options.addresses = {{"127.0.0.1", port}};
  connect();
  ASSERT_TRUE(run_until([this] { return failed.size() >= 3; }));
  listener_options.address.port = port;
  listen();
  EXPECT_TRUE(run_until([this] { return primary && backup; }));
}

TEST_F(Handshake, APeerThatTurnsUsAwayAgainAndAgainIsNotAskedInALoop) {
  connector_options.backoff_min = 100ms;
  connector_options.backoff_max = 10s;
  establish();
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) {
    primary.reset();
    backup.reset();
    connector->start();
    ASSERT_TRUE(run_until([this] { return primary && backup; }));
  }
  // At once after the first loss; then at least 75 and 150 ms (a timer may be late, never early).
  EXPECT_GE(std::chrono::steady_clock::now() - began, 225ms);
}

TEST_F(Handshake, StoppingEndsTheAttempts) {
  connector_options.addresses = {{"127.0.0.1", 1}};
  connect();
  ASSERT_TRUE(run_until([this] { return !failed.empty(); }));
  connector->stop();
  const auto count = failed.size();
  io.restart();
  io.run_for(300ms);
  EXPECT_EQ(failed.size(), count);
  EXPECT_FALSE(connector->running());
}

TEST_F(Handshake, APortInUseIsSaid) {
  listen();
  listener_options.address.port = listener->port();
  const auto second = Listener::open(io, open("b"), listener_options, {});
  ASSERT_FALSE(second.has_value());
  EXPECT_THAT(second.error().fix, HasSubstr("another process has this port"));
}

TEST(Address, IsParsedInAllItsForms) {
  EXPECT_EQ(parse_address("host-b", 7411)->text(), "host-b:7411");
  EXPECT_EQ(parse_address("host-b:99", 7411)->text(), "host-b:99");
  EXPECT_EQ(parse_address("[2001:db8::1]:99", 7411)->text(), "[2001:db8::1]:99");
  EXPECT_EQ(parse_address("2001:db8::1", 7411)->text(), "[2001:db8::1]:7411");
  for (const char* bad : {"", ":5", "host:", "host:0", "host:70000", "host:1x", "[::1", "[::1]x"})
    EXPECT_FALSE(parse_address(bad, 1).has_value()) << bad;
}

}  // namespace
}  // namespace remus::link
