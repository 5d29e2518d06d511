#include "link/dial.hpp"

#include <fmt/format.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>
#include <utility>

namespace remus::link {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

std::shared_ptr<Dial> Dial::start(asio::io_context& io, std::shared_ptr<Pki> pki, DialOptions options,
                                  Callback callback) {
  auto dial = std::make_shared<Dial>(io, std::move(pki), std::move(options), std::move(callback));
  asio::post(io, [dial] {
    if (dial->callback_) dial->resolve();
  });
  return dial;
}

Dial::Dial(asio::io_context& io, std::shared_ptr<Pki> pki, DialOptions options, Callback callback)
    : pki_{std::move(pki)},
      options_{std::move(options)},
      callback_{std::move(callback)},
      resolver_{io},
      socket_{io},
      timer_{io} {}

void Dial::cancel() {
  callback_ = nullptr;
  close();
}

void Dial::close() {
  error_code ignored;
  timer_.cancel();
  resolver_.cancel();
  socket_.close(ignored);
  if (stream_) stream_->lowest_layer().close(ignored);
}

void Dial::done(Result<Dialed> result) {
  if (!callback_) return;
  const auto callback = std::exchange(callback_, nullptr);
  timer_.cancel();
  if (!result) close();
  callback(std::move(result));
}

void Dial::failed(Errc kind, const std::string& what, std::string fix) {
  done(fail(kind, fmt::format("{}: {}", options_.address.text(), what), std::move(fix)));
}

void Dial::arm(std::chrono::milliseconds timeout, std::string doing) {
  timer_.expires_after(timeout);
  timer_.async_wait([self = shared_from_this(), timeout, doing = std::move(doing)](error_code cancelled) {
    if (!cancelled)
      self->failed(Errc::timeout, fmt::format("{} took more than {} ms", doing, timeout.count()),
                   "check that the host is up and no firewall drops the port");
  });
}

void Dial::resolve() {
  arm(options_.connect_timeout, "connecting");
  error_code not_numeric;
  const auto address = asio::ip::make_address(options_.address.host, not_numeric);
  if (!not_numeric) {
    connect(tcp::resolver::results_type::create(tcp::endpoint{address, options_.address.port},
                                                options_.address.host,
                                                std::to_string(options_.address.port)));
    return;
  }
  resolver_.async_resolve(
      options_.address.host, std::to_string(options_.address.port),
      [self = shared_from_this()](error_code error, const tcp::resolver::results_type& found) {
        if (!self->callback_) return;
        if (error)
          self->failed(Errc::unreachable, fmt::format("the name cannot be looked up: {}", error.message()),
                       "check the name, or give an IP address");
        else
          self->connect(found);
      });
}

void Dial::connect(const tcp::resolver::results_type& endpoints) {
  asio::async_connect(socket_, endpoints,
                      [self = shared_from_this()](error_code error, const tcp::endpoint&) {
                        if (!self->callback_) return;
                        if (!error) {
                          self->handshake();
                        } else if (error == asio::error::connection_refused) {
                          self->failed(Errc::unreachable, "connection refused: nobody listens there",
                                       "check that Remus runs on that host, and the port");
                        } else {
                          self->failed(Errc::unreachable, fmt::format("cannot connect: {}", error.message()));
                        }
                      });
}

void Dial::handshake() {
  auto context = pki_->context();
  if (!context) {
    done(std::unexpected(context.error()));
    return;
  }
  context_ = *context;
  tune_socket(socket_, options_.tcp_user_timeout);
  stream_ = std::make_unique<TlsStream>(std::move(socket_), *context_);
  check_ = install_peer_check(*stream_, pki_, options_.expected_host);
  arm(options_.handshake_timeout, "the TLS handshake");
  stream_->async_handshake(asio::ssl::stream_base::client, [self = shared_from_this()](error_code error) {
    if (!self->callback_) return;
    if (error) {
      auto why = explain_tls(error, self->check_.get(), self->options_.address.text());
      if (error == asio::error::eof || error == asio::ssl::error::stream_truncated ||
          error == asio::error::connection_reset || error == asio::error::broken_pipe) {
        // Somebody accepted the connection and thought better of it: not the same as nobody being there.
        why.kind = Errc::closed;
        why.fix = "see the log of that host: its own certificate may be unusable";
      }
      self->done(std::unexpected(std::move(why)));
      return;
    }
    if (!self->check_->peer) {
      self->failed(Errc::denied, "the handshake ended without a checked certificate");
      return;
    }
    std::string remote = remote_text(self->stream_->next_layer());
    self->done(Dialed{std::move(self->stream_), *self->check_->peer, std::move(remote)});
  });
}

}  // namespace remus::link
