#include "disk/nbd_server.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

namespace remus::disk {

namespace {

/// Room for the longest request and, behind it, many short ones: they then come by one system call.
constexpr std::size_t buffer_bytes = NbdSession::input_bytes_max + (1U << 20U);

Status send_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno, "cannot answer the NBD client");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return {};
}

void add_to(NbdSession::Counts& sum, const NbdSession::Counts& more) {
  sum.writes += more.writes;
  sum.written_bytes += more.written_bytes;
  sum.zeroes += more.zeroes;
  sum.trims += more.trims;
  sum.flushes += more.flushes;
  sum.refused += more.refused;
}

Result<Fd> listen_at(const NbdServerOptions& options) {
  const auto& path = options.socket;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof address.sun_path)
    return fail(Errc::invalid, fmt::format("the socket path {} is longer than {} bytes", path.native(),
                                           sizeof address.sun_path - 1));
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode))
      return fail(Errc::exists, fmt::format("{} is there, and is not a socket", path.native()), "remove it");
    ::unlink(path.c_str());  // a dead predecessor's
  }
  Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd) return fail_errno(errno, "cannot create a socket");
  // Nobody can connect before listen(), so the mode and the owner are set in time.
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno(errno, fmt::format("cannot create socket {}", path.native()));
  if (::chmod(path.c_str(), 0600) != 0)
    return fail_errno(errno, fmt::format("cannot protect socket {}", path.native()));
  if (options.client != 0) {
    if (::stat(fmt::format("/proc/{}", options.client).c_str(), &info) != 0)
      return fail(Errc::not_found, fmt::format("there is no process {} to serve a disk to", options.client));
    if (info.st_uid != ::geteuid() && ::chown(path.c_str(), info.st_uid, info.st_gid) != 0)
      return fail_errno(errno, fmt::format("cannot give socket {} to QEMU's user", path.native()));
  }
  if (::listen(fd.get(), 8) != 0) return fail_errno(errno, fmt::format("cannot listen at {}", path.native()));
  return fd;
}

}  // namespace

Result<std::unique_ptr<NbdServer>> NbdServer::start(NbdExport exported, WriteSink& sink,
                                                    NbdServerOptions options) {
  Fd listener;
  if (!options.socket.empty()) {
    auto listening = listen_at(options);
    if (!listening) return std::unexpected(listening.error());
    listener = std::move(*listening);
  }
  return std::unique_ptr<NbdServer>{
      new NbdServer{std::move(exported), sink, std::move(options), std::move(listener)}};
}

NbdServer::NbdServer(NbdExport exported, WriteSink& sink, NbdServerOptions options, Fd listener)
    : export_{std::move(exported)},
      sink_{&sink},
      options_{std::move(options)},
      listener_{std::move(listener)} {
  if (!listener_) return;
  acceptor_ = std::thread{[this] { accept(); }};
  ::pthread_setname_np(acceptor_.native_handle(), "nbd-accept");
}

NbdServer::~NbdServer() {
  stop();
}

void NbdServer::stop() {
  if (!stopping_.exchange(true) && listener_) {
    ::shutdown(listener_.get(), SHUT_RDWR);  // accept() returns
    ::unlink(options_.socket.c_str());
  }
  if (acceptor_.joinable()) acceptor_.join();
  {
    const std::lock_guard lock{mutex_};
    for (auto& connection : connections_)
      if (!connection.ended) ::shutdown(connection.fd.get(), SHUT_RDWR);
  }
  // The acceptor is gone: nobody else adds or removes connections.
  for (auto& connection : connections_)
    if (connection.thread.joinable()) connection.thread.join();
  reap();
}

void NbdServer::accept() {
  while (!stopping_) {
    Fd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    if (!fd) {
      if (stopping_) return;
      // Out of descriptors or memory, or the client has gone again: it is not ours to end for that.
      if (errno != EINTR && errno != ECONNABORTED) std::this_thread::sleep_for(std::chrono::milliseconds{10});
      continue;
    }
    // One too many is closed: it sees that, and the others go on.
    if (may_connect(fd.get())) static_cast<void>(serve(std::move(fd)));
  }
}

bool NbdServer::may_connect(int fd) const {
  if (options_.client == 0) return true;
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid == options_.client;
}

Status NbdServer::serve(Fd fd) {
  reap();
  const std::lock_guard lock{mutex_};
  if (connections_.size() >= connections_max)
    return fail(Errc::exhausted,
                fmt::format("disk '{}' has {} NBD clients already", export_.name, connections_max));
  auto& connection = connections_.emplace_back();
  connection.fd = std::move(fd);
  connection.thread = std::thread{[this, &connection] { run(connection); }};
  ::pthread_setname_np(connection.thread.native_handle(), "nbd-serve");
  return {};
}

void NbdServer::reap() {
  std::list<Connection> gone;
  {
    const std::lock_guard lock{mutex_};
    for (auto it = connections_.begin(); it != connections_.end();) {
      const auto next = std::next(it);
      if (it->ended) {
        add_to(ended_, it->counts);
        gone.splice(gone.end(), connections_, it);
      }
      it = next;
    }
  }
  for (auto& connection : gone)
    if (connection.thread.joinable()) connection.thread.join();
}

void NbdServer::run(Connection& connection) {
  NbdSession session{export_, *sink_};
  Status status = converse(connection, session);
  if (!status && stopping_) status = {};
  ::shutdown(connection.fd.get(),
             SHUT_RDWR);  // the client learns it now; the descriptor is closed when reaped
  if (options_.on_disconnect) options_.on_disconnect(status);
  const std::lock_guard lock{mutex_};
  connection.ended = true;
}

Status NbdServer::converse(Connection& connection, NbdSession& session) {
  if (Status sent = send_all(connection.fd.get(), session.greeting()); !sent) return sent;
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(buffer_bytes);
  std::vector<std::byte> answers;
  std::size_t begin = 0;
  std::size_t end = 0;
  while (session.state() != NbdSession::State::ended) {
    if (begin == end) begin = end = 0;
    if (buffer_bytes - begin <
        NbdSession::input_bytes_max) {  // the message at the front might not fit behind
      std::memmove(buffer.get(), buffer.get() + begin, end - begin);
      end -= begin;
      begin = 0;
    }
    const ssize_t got = ::recv(connection.fd.get(), buffer.get() + end, buffer_bytes - end, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno, fmt::format("lost the NBD client of '{}'", export_.name));
    }
    if (got == 0)
      return fail(Errc::closed, fmt::format("the NBD client of '{}' went without saying so", export_.name));
    end += static_cast<std::size_t>(got);
    answers.clear();
    const auto taken = session.take({buffer.get() + begin, end - begin}, answers);
    {
      const std::lock_guard lock{mutex_};
      connection.counts = session.counts();
    }
    if (Status sent = send_all(connection.fd.get(), answers); !sent) return sent;
    if (!taken) return std::unexpected(taken.error());
    begin += *taken;
  }
  return {};
}

NbdSession::Counts NbdServer::counts() const {
  const std::lock_guard lock{mutex_};
  NbdSession::Counts sum = ended_;
  for (const auto& connection : connections_) add_to(sum, connection.counts);
  return sum;
}

std::size_t NbdServer::connections() const {
  const std::lock_guard lock{mutex_};
  std::size_t count = 0;
  for (const auto& connection : connections_) count += connection.ended ? 0 : 1;
  return count;
}

}  // namespace remus::disk
