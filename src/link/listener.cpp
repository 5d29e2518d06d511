#include "link/listener.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <list>
#include <utility>

#include "link/connection_impl.hpp"
#include "link/tls_stream.hpp"

namespace remus::link {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr int accept_backlog = 64;
constexpr std::size_t hello_bytes_max = description_bytes_max + 4096;
constexpr std::chrono::milliseconds farewell_timeout{2'000};
/// How long to wait before accepting again when the process is out of descriptors or memory.
constexpr std::chrono::milliseconds accept_pause{100};

}  // namespace

struct Incoming::Impl {
  Hello hello;
  std::uint16_t version;
  std::shared_ptr<Connection::Impl> connection;
  std::string host;  ///< ours
};

Incoming::Incoming(std::unique_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
Incoming::Incoming(Incoming&&) noexcept = default;
Incoming& Incoming::operator=(Incoming&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}
Incoming::~Incoming() {
  if (impl_) impl_->connection->abandon();
}

const Hello& Incoming::hello() const noexcept {
  return impl_->hello;
}
const PeerCertificate& Incoming::peer() const noexcept {
  return impl_->connection->peer();
}
const std::string& Incoming::remote_address() const noexcept {
  return impl_->connection->remote();
}

std::unique_ptr<Connection> Incoming::welcome(Welcome welcome) && {
  const auto impl = std::exchange(impl_, nullptr);
  welcome.version = impl->version;
  welcome.product_version = REMUS_VERSION;
  welcome.host = impl->host;
  welcome.receive_window_bytes = impl->connection->options().receive_window_bytes;
  impl->connection->set_peer_window(impl->hello.receive_window_bytes);
  // A failure shows as on_closed, as soon as the connection is started.
  static_cast<void>(impl->connection->send(welcome));
  return std::make_unique<Connection>(impl->connection);
}

void Incoming::refuse(const Refuse& refusal) && {
  const auto impl = std::exchange(impl_, nullptr);
  static_cast<void>(impl->connection->send(refusal));
  impl->connection->close_after_flush(farewell_timeout, {Errc::refused, "refused", ""});
}

struct Listener::Impl final : std::enable_shared_from_this<Listener::Impl> {
  /// One that has not said Hello yet.
  struct Pending {
    explicit Pending(asio::io_context& io) : timer{io} {}
    asio::steady_timer timer;
    std::string remote{};
    std::shared_ptr<asio::ssl::context> context{};
    std::unique_ptr<TlsStream> stream{};
    std::shared_ptr<PeerCheck> check{};
    std::shared_ptr<Connection::Impl> connection{};
    bool done{false};
  };
  using PendingPtr = std::shared_ptr<Pending>;

  Impl(asio::io_context& context, std::shared_ptr<Pki> own_pki, ListenerOptions own_options,
       Handlers own_handlers)
      : io{context},
        pki{std::move(own_pki)},
        options{std::move(own_options)},
        handlers{std::make_shared<const Handlers>(std::move(own_handlers))},
        acceptor{io},
        pause{io} {}

  asio::io_context& io;
  std::shared_ptr<Pki> pki;
  ListenerOptions options;
  std::shared_ptr<const Handlers> handlers;
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  std::list<PendingPtr> pending{};
  bool stopped{false};

  Status open() {
    error_code error;
    const auto address = asio::ip::make_address(options.address.host, error);
    if (error)
      return fail(Errc::invalid,
                  fmt::format("cannot listen on '{}': not an IP address", options.address.host));
    const tcp::endpoint endpoint{address, options.address.port};
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address{true}, error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(accept_backlog, error);
    if (error)
      return fail(
          Errc::io, fmt::format("cannot listen on {}: {}", options.address.text(), error.message()),
          error == asio::error::address_in_use ? "another process has this port: choose another" : "");
    accept();
    return {};
  }

  void stop() {
    stopped = true;
    error_code ignored;
    acceptor.close(ignored);
    pause.cancel();
    while (!pending.empty()) drop(pending.front());
  }

  void accept() {
    acceptor.async_accept([self = shared_from_this()](error_code error, tcp::socket socket) {
      if (self->stopped) return;
      if (error) {
        self->accept_later();
        return;
      }
      self->greet(std::move(socket));
      if (!self->stopped) self->accept();
    });
  }

  void accept_later() {
    pause.expires_after(accept_pause);
    pause.async_wait([self = shared_from_this()](error_code cancelled) {
      if (!cancelled && !self->stopped) self->accept();
    });
  }

  void greet(tcp::socket socket) {
    auto peer = std::make_shared<Pending>(io);
    peer->remote = remote_text(socket);
    if (pending.size() >= options.handshakes_max)
      reject(PendingPtr{pending.front()},
             {Errc::exhausted, "too many connections that say nothing: the oldest is closed", ""});
    if (stopped) return;
    auto context = pki->context();
    pending.push_back(peer);
    if (!context) {
      reject(peer, context.error());
      return;
    }
    peer->context = *context;
    tune_socket(socket, options.connection.tcp_user_timeout);
    peer->stream = std::make_unique<TlsStream>(std::move(socket), *peer->context);
    peer->check = install_peer_check(*peer->stream, pki, options.expected_host);
    peer->timer.expires_after(options.handshake_timeout);
    peer->timer.async_wait([self = shared_from_this(), peer](error_code cancelled) {
      if (!cancelled)
        self->reject(peer, {Errc::timeout,
                            fmt::format("{} did not finish the handshake within {} ms", peer->remote,
                                        self->options.handshake_timeout.count()),
                            ""});
    });
    peer->stream->async_handshake(asio::ssl::stream_base::server,
                                  [self = shared_from_this(), peer](error_code error) {
                                    if (!peer->done) self->on_handshake(peer, error);
                                  });
  }

  void on_handshake(const PendingPtr& peer, error_code error) {
    const auto& certificate = peer->check->peer;
    if (error || !certificate) {
      reject(peer, explain_tls(error, peer->check.get(), peer->remote));
      return;
    }
    peer->connection = std::make_shared<Connection::Impl>(std::move(peer->stream), *certificate, peer->remote,
                                                          options.connection);
    peer->connection->set_payload_bytes_max(hello_bytes_max);
    const std::weak_ptr<Impl> weak = shared_from_this();
    peer->connection->start({[weak, peer](Message message, std::size_t) {
                               if (const auto self = weak.lock(); self && !peer->done)
                                 self->on_hello(peer, std::move(message));
                             },
                             {},
                             [weak, peer](const Error& closed) {
                               if (const auto self = weak.lock(); self && !peer->done)
                                 self->reject(peer, closed);
                             }});
  }

  void on_hello(const PendingPtr& peer, Message message) {
    auto* hello = std::get_if<Hello>(&message);
    if (hello == nullptr) {
      refuse(peer, {Errc::corrupt, fmt::format("{} did not begin with Hello", peer->remote), ""});
      return;
    }
    const auto version = negotiate_version(*hello);
    if (!version) {
      refuse(peer, version.error());
      return;
    }
    if (!peer->connection->peer().has_name(hello->host)) {
      refuse(peer, {Errc::denied,
                    fmt::format("{} says it is '{}', its certificate says {}", peer->remote, hello->host,
                                fmt::join(peer->connection->peer().dns_names, ", ")),
                    "issue its certificate with this name: remus cert issue"});
      return;
    }
    const auto connection = std::exchange(peer->connection, nullptr);
    connection->pause_delivery();
    connection->set_payload_bytes_max(frame_payload_bytes_max);
    forget(peer);
    const auto kept = handlers;
    Incoming incoming{std::make_unique<Incoming::Impl>(
        Incoming::Impl{std::move(*hello), *version, connection, pki->host()})};
    if (kept->on_incoming) kept->on_incoming(std::move(incoming));
  }

  /// Tells an enrolled peer why, then closes.
  void refuse(const PendingPtr& peer, const Error& error) {
    const auto connection = std::exchange(peer->connection, nullptr);
    connection->pause_delivery();
    static_cast<void>(connection->send(Refuse{error.kind, error.what, error.fix}));
    connection->close_after_flush(farewell_timeout, error);
    reject(peer, error);
  }

  void reject(const PendingPtr& peer, const Error& error) {
    if (peer->done) return;
    drop(peer);
    const auto kept = handlers;
    if (kept->on_rejected) kept->on_rejected(peer->remote, error);
  }

  void forget(const PendingPtr& peer) {
    peer->done = true;
    peer->timer.cancel();
    pending.remove(peer);
  }

  // By value: what is given may be the list's own, or a handler's of the connection that ends here.
  void drop(PendingPtr peer) {  // NOLINT(performance-unnecessary-value-param)
    forget(peer);
    if (peer->connection) std::exchange(peer->connection, nullptr)->abandon();
    error_code ignored;
    if (peer->stream) peer->stream->lowest_layer().close(ignored);
  }
};

Listener::Listener(std::shared_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
Listener::~Listener() {
  impl_->stop();
}

Result<std::unique_ptr<Listener>> Listener::open(asio::io_context& io, std::shared_ptr<Pki> pki,
                                                 ListenerOptions options, Handlers handlers) {
  auto impl = std::make_shared<Impl>(io, std::move(pki), std::move(options), std::move(handlers));
  if (Status opened = impl->open(); !opened) return std::unexpected(opened.error());
  return std::unique_ptr<Listener>{new Listener{std::move(impl)}};
}

std::uint16_t Listener::port() const noexcept {
  error_code ignored;
  return impl_->acceptor.local_endpoint(ignored).port();
}

}  // namespace remus::link
