// One connection of a server: requests one after another, each with its answer. Private to the room.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <functional>
#include <memory>
#include <optional>

#include "http/any_stream.hpp"
#include "http/exchange.hpp"
#include "http/server.hpp"

namespace remus::http {

/// What a session needs of its server.
struct SessionEnvironment {
  std::shared_ptr<const Handler> handler{};
  ServerOptions options{};
  std::shared_ptr<ServerStats> stats{};
};

class Session final : public std::enable_shared_from_this<Session> {
 public:
  /// `check` is what the TLS handshake will fill in; null for a unix socket, whose peer is known already.
  Session(AnyStream stream, std::shared_ptr<boost::asio::ssl::context> context,
          std::shared_ptr<link::PeerCheck> check, PeerIdentity peer, SessionEnvironment environment);

  /// Serves until the connection ends; then calls `ended` once.
  void start(std::function<void()> ended);
  void close();

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using ErrorCode = boost::system::error_code;

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<bool> handshake();
  /// Reads and answers one request. False: close the connection.
  boost::asio::awaitable<bool> serve_one();
  boost::asio::awaitable<void> refuse(ErrorCode error);
  boost::asio::awaitable<bool> send(Response response, bool keep_alive, unsigned version, bool head);
  boost::asio::awaitable<bool> send_stream(std::shared_ptr<Exchange> exchange, unsigned version);
  boost::asio::awaitable<void> drain();
  void watch_reader(const std::shared_ptr<Exchange>& exchange);
  void hand_over(Request request, const std::shared_ptr<Exchange>& exchange) const;
  void arm(std::chrono::milliseconds timeout);

  std::shared_ptr<boost::asio::ssl::context> context_;
  AnyStream stream_;
  std::shared_ptr<link::PeerCheck> check_;
  PeerIdentity peer_;
  SessionEnvironment environment_;
  boost::beast::flat_buffer buffer_;
  boost::asio::steady_timer timer_;
  std::array<char, 512> scrap_{};
  std::weak_ptr<Exchange> current_{};
  bool closed_{false};
};

}  // namespace remus::http
