// A unix socket or a TLS stream, as one type that Boost.Beast can read from and write to. Private to the
// room.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <memory>
#include <utility>
#include <variant>

#include "link/tls_stream.hpp"

namespace remus::http {

// Not final: Boost.Asio derives from it to look at its members.
class AnyStream {
 public:
  using UnixSocket = boost::asio::local::stream_protocol::socket;
  using executor_type = boost::asio::any_io_executor;

  explicit AnyStream(UnixSocket socket) : stream_{std::move(socket)} {}
  explicit AnyStream(std::unique_ptr<link::TlsStream> stream) : stream_{std::move(stream)} {}

  [[nodiscard]] executor_type get_executor() {
    if (auto* socket = std::get_if<UnixSocket>(&stream_)) return socket->get_executor();
    return std::get<Tls>(stream_)->get_executor();
  }

  // `handler` is always a composed operation's or a lambda, so these need no completion-token machinery.
  template <typename Buffers, typename Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (auto* socket = std::get_if<UnixSocket>(&stream_))
      socket->async_read_some(buffers, std::forward<Handler>(handler));
    else
      std::get<Tls>(stream_)->async_read_some(buffers, std::forward<Handler>(handler));
  }
  template <typename Buffers, typename Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    if (auto* socket = std::get_if<UnixSocket>(&stream_))
      socket->async_write_some(buffers, std::forward<Handler>(handler));
    else
      std::get<Tls>(stream_)->async_write_some(buffers, std::forward<Handler>(handler));
  }

  [[nodiscard]] link::TlsStream* tls() noexcept {
    auto* tls = std::get_if<Tls>(&stream_);
    return tls != nullptr ? tls->get() : nullptr;
  }

  void close() noexcept {
    boost::system::error_code ignored;
    if (auto* socket = std::get_if<UnixSocket>(&stream_))
      socket->close(ignored);
    else
      std::get<Tls>(stream_)->lowest_layer().close(ignored);
  }
  /// No more will be written; the peer reads an end of stream.
  void end_writing() noexcept {
    boost::system::error_code ignored;
    if (auto* socket = std::get_if<UnixSocket>(&stream_))
      socket->shutdown(UnixSocket::shutdown_send, ignored);
    else
      std::get<Tls>(stream_)->next_layer().shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
  }

 private:
  using Tls = std::unique_ptr<link::TlsStream>;
  std::variant<UnixSocket, Tls> stream_;
};

}  // namespace remus::http
