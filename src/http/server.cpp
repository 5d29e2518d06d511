#include "http/server.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <list>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "http/session.hpp"

namespace remus::http {

namespace asio = boost::asio;
using asio::ip::tcp;
using asio::local::stream_protocol;
using boost::system::error_code;

namespace {

constexpr int accept_backlog = 128;
constexpr std::chrono::milliseconds accept_pause{100};

PeerIdentity identity_of(stream_protocol::socket& socket) {
  PeerIdentity peer;
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
    peer.uid = credentials.uid;
    peer.gid = credentials.gid;
    peer.pid = credentials.pid;
  }
  return peer;
}

/// Whether somebody listens on the socket file at `path`.
bool answers(const std::filesystem::path& path) {
  const Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  // EAGAIN: its queue is full, so somebody does.
  return fd && (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
                errno == EAGAIN);
}

Status remove_stale(const std::filesystem::path& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(errno, fmt::format("cannot look at {}", path.string()));
  }
  if (!S_ISSOCK(st.st_mode))
    return fail(Errc::exists, fmt::format("{} is there already and is no socket", path.string()),
                "choose another path");
  if (answers(path))
    return fail(Errc::exists, fmt::format("another process listens on {} already", path.string()),
                "stop it, or choose another path");
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return fail_errno(errno, fmt::format("cannot remove the stale socket {}", path.string()));
  return {};
}

}  // namespace

struct Server::Impl final : std::enable_shared_from_this<Server::Impl> {
  struct UnixListener {
    stream_protocol::acceptor acceptor;
    asio::steady_timer pause;
    std::filesystem::path path;
    dev_t device;
    ino_t inode;
  };
  struct TlsListener {
    tcp::acceptor acceptor;
    asio::steady_timer pause;
    std::shared_ptr<link::Pki> pki;
  };

  Impl(asio::io_context& context, Handler handler, const ServerOptions& options)
      : io{context},
        environment{std::make_shared<const Handler>(std::move(handler)), options,
                    std::make_shared<ServerStats>()} {}

  asio::io_context& io;
  SessionEnvironment environment;
  std::list<UnixListener> unix_listeners{};
  std::list<TlsListener> tls_listeners{};
  std::list<std::shared_ptr<Session>> sessions{};  ///< the oldest first
  bool stopped{false};

  template <typename Listener>
  void accept(Listener& listener) {
    listener.acceptor.async_accept([self = shared_from_this(), &listener](error_code error, auto socket) {
      if (self->stopped) return;
      if (!error) {
        self->greet(listener, std::move(socket));
        self->accept(listener);
        return;
      }
      // Out of descriptors or memory: what is open goes on, new ones wait a moment.
      listener.pause.expires_after(accept_pause);
      listener.pause.async_wait([self, &listener](error_code cancelled) {
        if (!cancelled && !self->stopped) self->accept(listener);
      });
    });
  }

  [[nodiscard]] bool full() const { return sessions.size() >= environment.options.connections_max; }

  void greet(UnixListener&, stream_protocol::socket socket) {
    if (full()) {
      ++environment.stats->rejected;
      turn_away(std::move(socket));
      return;
    }
    const PeerIdentity peer = identity_of(socket);
    begin(std::make_shared<Session>(AnyStream{std::move(socket)}, nullptr, peer, environment));
  }

  void greet(TlsListener& listener, tcp::socket socket) {
    auto context = listener.pki->context();
    if (!context) return turned_away(link::remote_text(socket), context.error());
    if (full() && !make_room())
      return turned_away(link::remote_text(socket), {Errc::exhausted, "too many connections", ""});
    link::tune_socket(socket, environment.options.write_timeout);
    PeerIdentity peer;
    peer.kind = PeerIdentity::Kind::tls;
    peer.address = link::remote_text(socket);
    auto stream = std::make_unique<link::TlsStream>(std::move(socket), **context);
    auto check = link::install_peer_check(*stream, listener.pki, {});
    begin(std::make_shared<Session>(AnyStream{std::move(stream)}, std::move(check), peer, environment));
  }

  /// Enrolled hosts are not kept out by strangers who connect and say nothing: the one that has been at it
  /// for longest goes.
  bool make_room() {
    const Error why{Errc::exhausted, "too many connections that say nothing: the oldest is closed", ""};
    return std::ranges::any_of(sessions,
                               [&why](const auto& session) { return session->give_up_handshake(why); });
  }

  void turned_away(const std::string& remote, const Error& why) {
    ++environment.stats->rejected;
    if (environment.options.on_rejected) environment.options.on_rejected(remote, why);
  }

  /// A local caller is told why; what does not fit the socket's buffer at once is left out.
  void turn_away(stream_protocol::socket socket) const {
    static constexpr std::string_view body =
        R"({"error":{"kind":"exhausted","what":"too many connections","fix":"try again"}})";
    const std::string text = fmt::format(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\n"
        "Connection: close\r\n\r\n{}",
        body.size(), body);
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(text), ignored);
    socket.shutdown(stream_protocol::socket::shutdown_send, ignored);
  }

  void begin(const std::shared_ptr<Session>& session) {
    sessions.push_back(session);
    session->start([weak = weak_from_this(), raw = std::weak_ptr{session}] {
      if (const auto self = weak.lock()) self->sessions.remove(raw.lock());
    });
  }

  void stop() {
    if (std::exchange(stopped, true)) return;
    error_code ignored;
    for (UnixListener& listener : unix_listeners) {
      listener.acceptor.close(ignored);
      listener.pause.cancel();
      struct stat st {};
      // Only if it is still ours: another server may have taken the path since.
      if (::lstat(listener.path.c_str(), &st) == 0 && st.st_dev == listener.device &&
          st.st_ino == listener.inode)
        ::unlink(listener.path.c_str());
    }
    for (TlsListener& listener : tls_listeners) {
      listener.acceptor.close(ignored);
      listener.pause.cancel();
    }
    const auto open = std::exchange(sessions, {});
    for (const auto& session : open) session->close();
  }
};

Server::Server(asio::io_context& io, Handler handler, const ServerOptions& options)
    : impl_{std::make_shared<Impl>(io, std::move(handler), options)} {}
Server::~Server() {
  impl_->stop();
}
void Server::stop() {
  impl_->stop();
}

ServerStats Server::stats() const noexcept {
  ServerStats out = *impl_->environment.stats;
  out.connections = impl_->sessions.size();
  return out;
}

Status Server::listen_unix(const std::filesystem::path& path, mode_t mode, gid_t group) {
  const std::string name = path.string();
  if (name.empty() || name.size() >= sizeof(sockaddr_un::sun_path))
    return fail(Errc::invalid,
                fmt::format("the socket path '{}' is empty or longer than {} bytes", name,
                            sizeof(sockaddr_un::sun_path) - 1),
                "choose a shorter path");
  if (Status removed = remove_stale(path); !removed) return removed;
  stream_protocol::acceptor acceptor{impl_->io};
  error_code error;
  acceptor.open(stream_protocol{}, error);
  if (!error) acceptor.bind(stream_protocol::endpoint{name}, error);
  if (error) return fail(Errc::io, fmt::format("cannot create the socket {}: {}", name, error.message()));
  // Between bind and listen nobody can connect: the mode is right before the first one does.
  struct stat st {};
  if (::chmod(name.c_str(), mode) != 0 ||
      (group != static_cast<gid_t>(-1) && ::chown(name.c_str(), static_cast<uid_t>(-1), group) != 0) ||
      ::lstat(name.c_str(), &st) != 0) {
    const int code = errno;
    ::unlink(name.c_str());
    return fail_errno(code, fmt::format("cannot set the permissions of {}", name));
  }
  acceptor.listen(accept_backlog, error);
  if (error) {
    ::unlink(name.c_str());
    return fail(Errc::io, fmt::format("cannot listen on {}: {}", name, error.message()));
  }
  impl_->unix_listeners.push_back(
      {std::move(acceptor), asio::steady_timer{impl_->io}, path, st.st_dev, st.st_ino});
  impl_->accept(impl_->unix_listeners.back());
  return {};
}

Result<std::uint16_t> Server::listen_tls(const link::Address& address, std::shared_ptr<link::Pki> pki) {
  error_code error;
  const auto ip = asio::ip::make_address(address.host, error);
  if (error)
    return fail(Errc::invalid, fmt::format("cannot listen on '{}': not an IP address", address.host));
  const tcp::endpoint endpoint{ip, address.port};
  tcp::acceptor acceptor{impl_->io};
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address{true}, error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(accept_backlog, error);
  if (error)
    return fail(Errc::io, fmt::format("cannot listen on {}: {}", address.text(), error.message()),
                error == asio::error::address_in_use ? "another process has this port: choose another" : "");
  const std::uint16_t port = acceptor.local_endpoint(error).port();
  impl_->tls_listeners.push_back({std::move(acceptor), asio::steady_timer{impl_->io}, std::move(pki)});
  impl_->accept(impl_->tls_listeners.back());
  return port;
}

}  // namespace remus::http
