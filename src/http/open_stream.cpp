#include "http/open_stream.hpp"

#include <fmt/format.h>
#include <sys/un.h>

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <utility>

namespace remus::http {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

Error connect_error(const std::string& path, const error_code& error) {
  if (error == boost::system::errc::no_such_file_or_directory)
    return {Errc::unreachable, fmt::format("there is no socket {}", path),
            "check that remusd runs: systemctl start remusd"};
  if (error == asio::error::connection_refused)
    return {Errc::unreachable, fmt::format("nobody listens on {}", path),
            "check that remusd runs: systemctl start remusd"};
  if (error == asio::error::access_denied)
    return {Errc::denied, fmt::format("no permission to use {}", path),
            "be root, or join the group of that socket"};
  return {Errc::unreachable, fmt::format("cannot connect to {}: {}", path, error.message()), ""};
}

}  // namespace

std::string to_text(const Endpoint& endpoint) {
  if (const auto* local = std::get_if<UnixEndpoint>(&endpoint)) return local->path.string();
  return std::get<TlsEndpoint>(endpoint).address.text();
}

std::shared_ptr<StreamOpener> StreamOpener::start(asio::io_context& io, const Endpoint& endpoint,
                                                  std::chrono::milliseconds timeout, Callback callback) {
  auto opener = std::make_shared<StreamOpener>(io, std::move(callback));
  std::visit([&](const auto& where) { opener->open(io, where, timeout); }, endpoint);
  return opener;
}

StreamOpener::StreamOpener(asio::io_context& io, Callback callback)
    : callback_{std::move(callback)}, socket_{io} {}

void StreamOpener::cancel() {
  callback_ = nullptr;
  error_code ignored;
  socket_.close(ignored);
  if (dial_) std::exchange(dial_, nullptr)->cancel();
}

void StreamOpener::done(Result<std::unique_ptr<AnyStream>> result) {
  dial_ = nullptr;
  if (const auto callback = std::exchange(callback_, nullptr)) callback(std::move(result));
}

void StreamOpener::open(asio::io_context& io, const UnixEndpoint& endpoint, std::chrono::milliseconds) {
  const std::string path = endpoint.path.string();
  if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path)) {
    asio::post(io, [self = shared_from_this(), path] {
      self->done(fail(Errc::invalid, fmt::format("'{}' cannot be a socket's path: empty or too long", path)));
    });
    return;
  }
  socket_.async_connect(asio::local::stream_protocol::endpoint{path},
                        [self = shared_from_this(), path](error_code error) {
                          if (error)
                            self->done(std::unexpected(connect_error(path, error)));
                          else
                            self->done(std::make_unique<AnyStream>(std::move(self->socket_)));
                        });
}

void StreamOpener::open(asio::io_context& io, const TlsEndpoint& endpoint,
                        std::chrono::milliseconds timeout) {
  link::DialOptions options{endpoint.address, endpoint.expected_host, timeout, timeout, timeout};
  dial_ = link::Dial::start(io, endpoint.pki, std::move(options),
                            [self = shared_from_this()](Result<link::Dialed> dialed) {
                              if (dialed)
                                self->done(std::make_unique<AnyStream>(std::move(dialed->stream)));
                              else
                                self->done(std::unexpected(std::move(dialed.error())));
                            });
}

}  // namespace remus::http
