// From an address to a checked TLS stream: look up the name, connect, shake hands, each within its time.
//
// One attempt, one answer. Includes Boost.Asio: for .cpp files of link and http only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "link/connector.hpp"
#include "link/tls_stream.hpp"

namespace remus::link {

struct DialOptions {
  Address address{};
  std::string expected_host{};
  std::chrono::milliseconds connect_timeout{2'000};
  std::chrono::milliseconds handshake_timeout{5'000};
  std::chrono::milliseconds tcp_user_timeout{10'000};
};

struct Dialed {
  std::unique_ptr<TlsStream> stream{};
  PeerCertificate peer{};
  std::string remote{};
};

class Dial final : public std::enable_shared_from_this<Dial> {
 public:
  using Callback = std::function<void(Result<Dialed>)>;

  /// `callback` is called exactly once, later, unless cancel() comes first.
  static std::shared_ptr<Dial> start(boost::asio::io_context& io, std::shared_ptr<Pki> pki,
                                     DialOptions options, Callback callback);
  Dial(boost::asio::io_context& io, std::shared_ptr<Pki> pki, DialOptions options, Callback callback);
  void cancel();

 private:
  void resolve();
  void connect(const boost::asio::ip::tcp::resolver::results_type& endpoints);
  void handshake();
  void arm(std::chrono::milliseconds timeout, std::string doing);
  void close();
  void done(Result<Dialed> result);
  void failed(Errc kind, const std::string& what, std::string fix = {});

  std::shared_ptr<Pki> pki_;
  DialOptions options_;
  Callback callback_;
  boost::asio::ip::tcp::resolver resolver_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<boost::asio::ssl::context> context_{};  ///< kept as long as its stream shakes hands
  std::unique_ptr<TlsStream> stream_{};
  std::shared_ptr<PeerCheck> check_{};
};

}  // namespace remus::link
