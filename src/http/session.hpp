// One connection of a server: requests one after another, each with its answer. Private to the room.
//
//   handshake ─▶ read request ─▶ [handler] ─▶ send answer ──┬─ keep alive ─▶ read request
//   (TLS only)         │                └─▶ stream chunks   └─ else ─▶ drain ─▶ close
//                      └─ malformed ─▶ send 4xx ─▶ drain ─▶ close
#pragma once

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

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
  Session(AnyStream stream, std::shared_ptr<link::PeerCheck> check, PeerIdentity peer,
          SessionEnvironment environment);

  /// Serves until the connection ends; then calls `ended` once, later.
  void start(std::function<void()> ended);
  void close();
  /// Closes it with this reason, if its peer has not shown who it is.
  bool give_up_handshake(const Error& why);

 private:
  using ErrorCode = boost::system::error_code;
  using StringBody = boost::beast::http::string_body;
  using EmptyBody = boost::beast::http::empty_body;

  void handshake();
  void rejected(const Error& why);
  void read_request();
  void on_request(ErrorCode error);
  void hand_over(Request request);
  /// Something new about the answer under way.
  void look();
  void send(Response response);
  void begin_stream();
  void pump_stream();
  void end_stream();
  void watch_reader();
  void drain();
  void arm(std::chrono::milliseconds timeout);
  void disarm();

  AnyStream stream_;
  std::shared_ptr<link::PeerCheck> check_;
  PeerIdentity peer_;
  SessionEnvironment environment_;
  std::function<void()> ended_{};
  boost::beast::flat_buffer buffer_;
  boost::asio::steady_timer timer_;
  std::uint64_t wait_number_{0};
  std::array<char, 4096> scrap_{};
  std::size_t drained_bytes_{0};

  // the request under way and its answer
  std::optional<boost::beast::http::request_parser<StringBody>> parser_{};
  std::shared_ptr<Exchange> exchange_{};
  bool keep_alive_{false};
  bool head_{false};
  unsigned version_{11};
  boost::beast::http::response<StringBody> message_{};
  boost::beast::http::response<EmptyBody> stream_head_{};
  std::optional<boost::beast::http::response_serializer<EmptyBody>> stream_serializer_{};
  std::string chunk_{};
  bool streaming_{false};
  bool writing_{false};
  bool closed_{false};
  bool greeted_{false};  ///< we know who it is
};

}  // namespace remus::http
