#include "http/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <cctype>
#include <exception>
#include <string_view>
#include <utility>

#include "link/tls_stream.hpp"

namespace remus::http {
namespace {

namespace bhttp = boost::beast::http;

constexpr std::chrono::milliseconds drain_timeout{1'000};
constexpr std::size_t drain_bytes_max = 4 * body_bytes_max;
constexpr const char* server_name = "Remus";

std::string lower(std::string_view text) {
  std::string out{text};
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

/// What a client that broke the protocol or a limit is told; nothing if it just went away.
std::optional<Response> response_to(const boost::system::error_code& error) {
  if (error == bhttp::error::end_of_stream || error == bhttp::error::partial_message) return std::nullopt;
  if (error.category() != bhttp::make_error_code(bhttp::error::bad_method).category()) return std::nullopt;
  std::string what = fmt::format("malformed HTTP request: {}", error.message());
  unsigned status = 400;
  if (error == bhttp::error::body_limit) {
    what = fmt::format("the body has more than {} bytes", body_bytes_max);
    status = 413;
  } else if (error == bhttp::error::header_limit || error == bhttp::error::buffer_overflow) {
    what = fmt::format("the header has more than {} bytes", header_bytes_max);
    status = 431;
  }
  Response response = error_response({Errc::invalid, std::move(what), ""});
  response.status = status;
  return response;
}

}  // namespace

Session::Session(AnyStream stream, std::shared_ptr<link::PeerCheck> check, PeerIdentity peer,
                 SessionEnvironment environment)
    : stream_{std::move(stream)},
      check_{std::move(check)},
      peer_{std::move(peer)},
      environment_{std::move(environment)},
      buffer_{header_bytes_max + body_bytes_max},
      timer_{stream_.get_executor()} {}

void Session::start(std::function<void()> ended) {
  ended_ = std::move(ended);
  if (check_)
    handshake();
  else
    read_request();
}

void Session::close() {
  if (std::exchange(closed_, true)) return;
  timer_.cancel();
  stream_.close();
  if (exchange_) exchange_->reader_gone();
  if (ended_) boost::asio::post(stream_.get_executor(), std::exchange(ended_, nullptr));
}

void Session::arm(std::chrono::milliseconds timeout) {
  timer_.expires_after(timeout);
  // The number tells a wait that was ended just too late to be cancelled from the one that is meant.
  timer_.async_wait([weak = weak_from_this(), number = ++wait_number_](ErrorCode cancelled) {
    const auto self = weak.lock();
    if (!cancelled && self && self->wait_number_ == number) self->close();
  });
}

void Session::disarm() {
  ++wait_number_;
  timer_.cancel();
}

void Session::rejected(const Error& why) {
  ++environment_.stats->rejected;
  const std::string from =
      peer_.kind == PeerIdentity::Kind::tls ? peer_.address : fmt::format("process {}", peer_.pid);
  if (environment_.options.on_rejected) environment_.options.on_rejected(from, why);
}

bool Session::give_up_handshake(const Error& why) {
  if (!check_ || greeted_ || closed_) return false;
  rejected(why);
  close();
  return true;
}

void Session::handshake() {
  timer_.expires_after(environment_.options.handshake_timeout);
  timer_.async_wait([weak = weak_from_this(), number = ++wait_number_](ErrorCode cancelled) {
    const auto self = weak.lock();
    if (cancelled || !self || self->wait_number_ != number) return;
    static_cast<void>(
        self->give_up_handshake({Errc::timeout,
                                 fmt::format("it did not finish the handshake within {} ms",
                                             self->environment_.options.handshake_timeout.count()),
                                 ""}));
  });
  stream_.tls()->async_handshake(
      boost::asio::ssl::stream_base::server, [self = shared_from_this()](ErrorCode error) {
        if (self->closed_) return;
        if (error || !self->check_->peer) {
          self->rejected(link::explain_tls(error, self->check_.get(), self->peer_.address));
          self->close();
          return;
        }
        self->greeted_ = true;
        self->peer_.host = self->check_->peer->host;
        self->peer_.fingerprint_sha256 = self->check_->peer->fingerprint_sha256;
        self->read_request();
      });
}

void Session::read_request() {
  exchange_ = nullptr;
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(header_bytes_max));
  parser_->body_limit(body_bytes_max);
  arm(environment_.options.idle_timeout);
  bhttp::async_read(stream_, buffer_, *parser_,
                    [self = shared_from_this()](ErrorCode error, std::size_t) { self->on_request(error); });
}

void Session::on_request(ErrorCode error) {
  if (closed_) return;
  disarm();
  if (error) {
    keep_alive_ = false;
    head_ = false;
    version_ = 11;
    if (auto response = response_to(error)) {
      rejected(error_of(*response));
      send(std::move(*response));
    } else {
      drain();
    }
    return;
  }
  ++environment_.stats->requests;
  auto message = parser_->release();
  keep_alive_ = message.keep_alive();
  head_ = message.method() == bhttp::verb::head;
  version_ = message.version();
  auto target = parse_target(std::string_view{message.target().data(), message.target().size()});
  if (!target) {
    rejected(target.error());
    send(error_response(target.error()));
    return;
  }
  Request request;
  request.method = std::string{message.method_string()};
  request.path = std::move(target->path);
  request.query = std::move(target->query);
  for (const auto& field : message)
    request.headers[lower(std::string_view{field.name_string().data(), field.name_string().size()})] =
        std::string{field.value()};
  request.body = std::move(message.body());
  request.peer = peer_;
  hand_over(std::move(request));
}

void Session::hand_over(Request request) {
  const auto look_again = [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->look();
  };
  exchange_ = std::make_shared<Exchange>(look_again, environment_.options.stream_queue_bytes);
  streaming_ = false;
  auto impl = std::make_shared<Responder::Impl>(stream_.get_executor(), exchange_);
  try {
    (*environment_.handler)(std::move(request), Responder{impl});
  } catch (const std::exception& fault) {
    impl->reply(error_response({Errc::internal, fmt::format("a fault in the server: {}", fault.what()), ""}));
  }
}

void Session::look() {
  if (closed_ || !exchange_) return;
  if (streaming_) {
    pump_stream();
  } else if (exchange_->stream_type) {
    begin_stream();
  } else if (exchange_->response) {
    Response response = std::move(*std::exchange(exchange_->response, std::nullopt));
    send(std::move(response));
  }
}

void Session::send(Response response) {
  message_ = {};
  message_.result(response.status);
  message_.version(version_);
  message_.set(bhttp::field::server, server_name);
  message_.set(bhttp::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) message_.set(name, value);
  message_.keep_alive(keep_alive_);
  message_.body() = std::move(response.body);
  message_.prepare_payload();
  if (head_) message_.body().clear();  // the length stays: it is what GET would have
  arm(environment_.options.write_timeout);
  bhttp::async_write(stream_, message_, [self = shared_from_this()](ErrorCode error, std::size_t) {
    if (self->closed_) return;
    self->disarm();
    if (error)
      self->close();
    else if (self->keep_alive_)
      self->read_request();
    else
      self->drain();
  });
}

void Session::begin_stream() {
  streaming_ = true;
  writing_ = true;
  stream_head_ = {};
  stream_head_.result(bhttp::status::ok);
  stream_head_.version(version_);
  stream_head_.set(bhttp::field::server, server_name);
  stream_head_.set(bhttp::field::content_type, *exchange_->stream_type);
  stream_head_.set(bhttp::field::cache_control, "no-store");
  if (version_ >= 11) stream_head_.chunked(true);
  stream_head_.keep_alive(false);
  stream_serializer_.emplace(stream_head_);
  arm(environment_.options.write_timeout);
  bhttp::async_write_header(stream_, *stream_serializer_,
                            [self = shared_from_this()](ErrorCode error, std::size_t) {
                              if (self->closed_) return;
                              self->disarm();
                              self->writing_ = false;
                              if (error) {
                                self->close();
                                return;
                              }
                              self->watch_reader();
                              self->pump_stream();
                            });
}

void Session::pump_stream() {
  if (writing_) return;
  if (exchange_->gone) {
    close();
    return;
  }
  if (exchange_->chunks.empty()) {
    if (exchange_->finished) end_stream();
    return;
  }
  writing_ = true;
  chunk_ = std::move(exchange_->chunks.front());
  exchange_->chunks.pop_front();
  exchange_->shared->queued_bytes -= chunk_.size();
  arm(environment_.options.write_timeout);
  auto written = [self = shared_from_this()](ErrorCode error, std::size_t) {
    if (self->closed_) return;
    self->disarm();
    self->writing_ = false;
    if (error)
      self->close();
    else
      self->pump_stream();
  };
  const boost::asio::const_buffer bytes{chunk_.data(), chunk_.size()};
  if (version_ >= 11)
    boost::asio::async_write(stream_, bhttp::make_chunk(bytes), std::move(written));
  else
    boost::asio::async_write(stream_, bytes, std::move(written));
}

void Session::end_stream() {
  writing_ = true;
  exchange_->shared->stream_open = false;
  arm(environment_.options.write_timeout);
  chunk_ =
      version_ >= 11 ? "0\r\n\r\n" : "";  // the last chunk; before HTTP/1.1 the end of the stream says it
  boost::asio::async_write(stream_, boost::asio::const_buffer{chunk_.data(), chunk_.size()},
                           [self = shared_from_this()](ErrorCode, std::size_t) {
                             if (self->closed_) return;
                             self->stream_.end_writing();
                             self->close();
                           });
}

void Session::watch_reader() {
  stream_.async_read_some(
      boost::asio::buffer(scrap_), [self = shared_from_this()](ErrorCode error, std::size_t) {
        if (self->closed_) return;
        if (error)
          self->close();
        else
          self->watch_reader();  // a stream's reader has nothing to say; what it says is thrown away
      });
}

void Session::drain() {
  // Closing with unread input would reset the connection, and the peer might never read our answer (413,
  // say).
  if (drained_bytes_ == 0) {
    stream_.end_writing();
    arm(drain_timeout);
  }
  stream_.async_read_some(boost::asio::buffer(scrap_),
                          [self = shared_from_this()](ErrorCode error, std::size_t bytes) {
                            if (self->closed_) return;
                            self->drained_bytes_ += bytes;
                            if (error || self->drained_bytes_ > drain_bytes_max)
                              self->close();
                            else
                              self->drain();
                          });
}

}  // namespace remus::http
