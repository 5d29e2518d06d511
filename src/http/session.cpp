#include "http/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/write.hpp>
#include <cctype>
#include <exception>
#include <utility>

namespace remus::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;

constexpr auto as_awaited = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds drain_timeout{1'000};
constexpr const char* server_name = "Remus";

std::string lower(std::string_view text) {
  std::string out{text};
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

/// What a client that broke the protocol or a limit is told; nothing if it just went away.
std::optional<Response> response_to(const boost::system::error_code& error) {
  Response response =
      error_response({Errc::invalid, fmt::format("malformed HTTP request: {}", error.message()), ""});
  if (error == bhttp::error::body_limit) {
    response =
        error_response({Errc::invalid, fmt::format("the body has more than {} bytes", body_bytes_max), ""});
    response.status = 413;
    return response;
  }
  if (error == bhttp::error::header_limit || error == bhttp::error::buffer_overflow) {
    response = error_response(
        {Errc::invalid, fmt::format("the header has more than {} bytes", header_bytes_max), ""});
    response.status = 431;
    return response;
  }
  if (error == bhttp::error::end_of_stream || error == bhttp::error::partial_message) return std::nullopt;
  if (error.category() == bhttp::make_error_code(bhttp::error::bad_method).category()) return response;
  return std::nullopt;
}

}  // namespace

Session::Session(AnyStream stream, std::shared_ptr<asio::ssl::context> context,
                 std::shared_ptr<link::PeerCheck> check, PeerIdentity peer, SessionEnvironment environment)
    : context_{std::move(context)},
      stream_{std::move(stream)},
      check_{std::move(check)},
      peer_{std::move(peer)},
      environment_{std::move(environment)},
      buffer_{header_bytes_max + body_bytes_max},
      timer_{stream_.get_executor()} {}

void Session::start(std::function<void()> ended) {
  asio::co_spawn(
      stream_.get_executor(), [self = shared_from_this()] { return self->run(); },
      [self = shared_from_this(), ended = std::move(ended)](const std::exception_ptr& failure) {
        // Only memory running out gets here; the connection is given up, the server lives on.
        if (failure) ++self->environment_.stats->rejected;
        self->close();
        ended();
      });
}

void Session::close() {
  if (std::exchange(closed_, true)) return;
  timer_.cancel();
  stream_.close();
  if (const auto exchange = current_.lock()) exchange->reader_gone();
}

void Session::arm(std::chrono::milliseconds timeout) {
  timer_.expires_after(timeout);
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code cancelled) {
    const auto self = weak.lock();
    if (!cancelled && self) self->close();
  });
}

asio::awaitable<void> Session::run() {
  if (check_ && !co_await handshake()) co_return;
  while (!closed_ && co_await serve_one()) {
  }
  if (!closed_) co_await drain();
}

asio::awaitable<bool> Session::handshake() {
  arm(environment_.options.handshake_timeout);
  const auto [error] = co_await stream_.tls()->async_handshake(asio::ssl::stream_base::server, as_awaited);
  if (error || !check_->peer) {
    ++environment_.stats->rejected;
    co_return false;
  }
  peer_.host = check_->peer->host;
  peer_.fingerprint_sha256 = check_->peer->fingerprint_sha256;
  co_return true;
}

asio::awaitable<bool> Session::serve_one() {
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(header_bytes_max));
  parser.body_limit(body_bytes_max);
  arm(environment_.options.idle_timeout);
  const auto [error, bytes] = co_await bhttp::async_read(stream_, buffer_, parser, as_awaited);
  if (error) {
    co_await refuse(error);
    co_return false;
  }
  timer_.cancel();
  ++environment_.stats->requests;
  auto message = parser.release();
  const bool keep_alive = message.keep_alive();
  const bool head = message.method() == bhttp::verb::head;
  const unsigned version = message.version();

  const auto target = parse_target(std::string_view{message.target().data(), message.target().size()});
  if (!target) {
    ++environment_.stats->rejected;
    co_return co_await send(error_response(target.error()), keep_alive, version, head);
  }
  Request request{std::string{message.method_string()},
                  target->path,
                  target->query,
                  {},
                  std::move(message.body()),
                  peer_};
  for (const auto& field : message)
    request.headers[lower(std::string_view{field.name_string().data(), field.name_string().size()})] =
        std::string{field.value()};

  auto exchange = std::make_shared<Exchange>(stream_.get_executor(), environment_.options.stream_queue_bytes);
  current_ = exchange;
  hand_over(std::move(request), exchange);
  while (!exchange->response && !exchange->stream_type && !closed_) {
    exchange->wake_timer.expires_at(asio::steady_timer::time_point::max());
    static_cast<void>(co_await exchange->wake_timer.async_wait(as_awaited));
  }
  if (closed_) co_return false;
  if (exchange->stream_type) co_return co_await send_stream(exchange, version);
  co_return co_await send(std::move(*exchange->response), keep_alive, version, head);
}

void Session::hand_over(Request request, const std::shared_ptr<Exchange>& exchange) const {
  auto impl = std::make_shared<Responder::Impl>(exchange->wake_timer.get_executor(), exchange);
  try {
    (*environment_.handler)(std::move(request), Responder{impl});
  } catch (const std::exception& fault) {
    impl->reply(error_response({Errc::internal, fmt::format("a fault in the server: {}", fault.what()), ""}));
  }
}

asio::awaitable<void> Session::refuse(ErrorCode error) {
  auto response = closed_ ? std::nullopt : response_to(error);
  if (!response) co_return;
  ++environment_.stats->rejected;
  static_cast<void>(co_await send(std::move(*response), false, 11, false));
}

asio::awaitable<bool> Session::send(Response response, bool keep_alive, unsigned version, bool head) {
  bhttp::response<bhttp::string_body> message{static_cast<bhttp::status>(response.status), version};
  message.set(bhttp::field::server, server_name);
  message.set(bhttp::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) message.set(name, value);
  message.keep_alive(keep_alive);
  message.body() = std::move(response.body);
  message.prepare_payload();
  if (head) message.body().clear();  // the length stays: it is what GET would have
  arm(environment_.options.write_timeout);
  const auto [error, bytes] = co_await bhttp::async_write(stream_, message, as_awaited);
  timer_.cancel();
  co_return !error && keep_alive;
}

asio::awaitable<bool> Session::send_stream(std::shared_ptr<Exchange> exchange, unsigned version) {
  bhttp::response<bhttp::empty_body> head{bhttp::status::ok, version};
  head.set(bhttp::field::server, server_name);
  head.set(bhttp::field::content_type, *exchange->stream_type);
  head.set(bhttp::field::cache_control, "no-store");
  const bool chunked = version >= 11;
  if (chunked) head.chunked(true);
  head.keep_alive(false);
  bhttp::response_serializer<bhttp::empty_body> serializer{head};
  arm(environment_.options.write_timeout);
  const auto [header_error, header_bytes] =
      co_await bhttp::async_write_header(stream_, serializer, as_awaited);
  timer_.cancel();
  if (header_error) {
    exchange->reader_gone();
    co_return false;
  }
  watch_reader(exchange);
  for (;;) {
    while (exchange->chunks.empty() && !exchange->finished && !exchange->gone && !closed_) {
      exchange->wake_timer.expires_at(asio::steady_timer::time_point::max());
      static_cast<void>(co_await exchange->wake_timer.async_wait(as_awaited));
    }
    if (exchange->gone || closed_) {
      close();
      co_return false;
    }
    arm(environment_.options.write_timeout);
    if (exchange->chunks.empty()) break;
    const std::string chunk = std::move(exchange->chunks.front());
    exchange->chunks.pop_front();
    exchange->shared->queued_bytes -= chunk.size();
    boost::system::error_code failed;
    if (chunked) {
      const auto buffers = bhttp::make_chunk(asio::const_buffer{chunk.data(), chunk.size()});
      const auto [error, bytes] = co_await asio::async_write(stream_, buffers, as_awaited);
      failed = error;
    } else {
      const asio::const_buffer buffer{chunk.data(), chunk.size()};
      const auto [error, bytes] = co_await asio::async_write(stream_, buffer, as_awaited);
      failed = error;
    }
    timer_.cancel();
    if (failed) {
      exchange->reader_gone();
      close();
      co_return false;
    }
  }
  exchange->shared->stream_open = false;
  if (chunked) {
    const auto last = bhttp::make_chunk_last();
    static_cast<void>(co_await asio::async_write(stream_, last, as_awaited));
  }
  stream_.end_writing();
  close();
  co_return false;
}

void Session::watch_reader(const std::shared_ptr<Exchange>& exchange) {
  stream_.async_read_some(asio::buffer(scrap_), [self = shared_from_this(), weak = std::weak_ptr{exchange}](
                                                    boost::system::error_code error, std::size_t) {
    const auto target = weak.lock();
    if (!target || self->closed_) return;
    if (error)
      target->reader_gone();
    else
      self->watch_reader(target);  // a stream's reader has nothing to say; what it says is thrown away
  });
}

asio::awaitable<void> Session::drain() {
  // Closing with unread input would reset the connection, and the peer might never read our answer (413,
  // say).
  stream_.end_writing();
  arm(drain_timeout);
  for (std::size_t read = 0; read < 4 * body_bytes_max && !closed_;) {
    const auto [error, bytes] =
        co_await asio::async_read(stream_, asio::buffer(scrap_), asio::transfer_at_least(1), as_awaited);
    if (error) break;
    read += bytes;
  }
}

}  // namespace remus::http
