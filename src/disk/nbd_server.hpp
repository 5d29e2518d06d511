// Serves one disk of a guest to the QEMU that mirrors its writes to us: an NBD server on sockets it is handed.
//
//   QEMU ──▶ guest's disk              (as before)
//     └────▶ NBD export ──▶ WriteSink  (the guest's write ends when both have it)
//
// The guest waits for each answer, and QEMU as a whole waits for them when it stops the guest: whoever stalls the sink
// stalls the guest, and nothing but an answer or a closed connection frees it. So the sink answers at once, and when it
// cannot for long, the owner stops this server: QEMU then ends its mirror job and the guest goes on without us.
//
// A connection is one end of a socket pair whose other end QEMU got by `getfd`, so that no path, user or confinement of
// QEMU's matters and nobody else can connect. Each has a thread; see nbd_session.hpp for what is served.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "disk/nbd_session.hpp"

namespace remus::disk {

class NbdServer final {
 public:
  static constexpr std::size_t connections_max = 16;  ///< further ones are closed at once

  /// A connection ended; why, if it did not end in good order. On the connection's thread: be quick.
  using OnDisconnect = std::function<void(const Status&)>;

  /// `sink` outlives the server.
  NbdServer(NbdExport exported, WriteSink& sink, OnDisconnect on_disconnect = {});
  ~NbdServer();
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  /// Serves a client on a connected stream socket. Not together with stop(). Errors: exhausted (connections_max).
  Status serve(Fd fd);

  /// Closes all connections and waits for their threads; a sink that makes one wait must be woken first by its
  /// owner. Idempotent.
  void stop();

  /// What was served over all connections so far.
  [[nodiscard]] NbdSession::Counts counts() const;
  [[nodiscard]] std::size_t connections() const;

 private:
  struct Connection {
    Fd fd{};
    NbdSession::Counts counts{};  ///< guarded by mutex_
    bool ended{};                 ///< guarded by mutex_
    std::thread thread{};
  };

  void reap();
  void run(Connection& connection);
  Status converse(Connection& connection, NbdSession& session);

  NbdExport export_;
  WriteSink* sink_;
  OnDisconnect on_disconnect_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_{};
  std::list<Connection> connections_{};
  NbdSession::Counts ended_{};  ///< of connections that are gone
};

}  // namespace remus::disk
