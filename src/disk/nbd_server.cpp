#include "disk/nbd_server.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/socket.h>

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

}  // namespace

NbdServer::NbdServer(NbdExport exported, WriteSink& sink, OnDisconnect on_disconnect)
    : export_{std::move(exported)}, sink_{&sink}, on_disconnect_{std::move(on_disconnect)} {}

NbdServer::~NbdServer() {
  stop();
}

void NbdServer::stop() {
  stopping_ = true;
  {
    const std::lock_guard lock{mutex_};
    for (auto& connection : connections_)
      if (!connection.ended) ::shutdown(connection.fd.get(), SHUT_RDWR);
  }
  for (auto& connection : connections_)
    if (connection.thread.joinable()) connection.thread.join();
  reap();
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
  if (on_disconnect_) on_disconnect_(status);
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
