// A small HTTP/1.1 server for JSON APIs, on a unix socket, on TLS with mutual certificates, or both.
//
// Each request is handed to one handler with a Responder; the answer may be given at once or later, from any
// thread. Streams (events, top) are answers that go on: each write() is one chunk.
//
// Bounds: connections_max at a time (further ones are told 503 and closed; a TLS peer that has not shown its
// certificate yet makes room for a new one), headers 16 KiB, body 1 MiB (413),
// idle_timeout for a request to come whole and for the next one after it, write_timeout for an answer to be
// taken, stream_queue_bytes per stream (a reader that is slower loses the stream, not the server its memory).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "http/types.hpp"
#include "link/connector.hpp"
#include "link/tls.hpp"

namespace boost::asio {
class io_context;
}

namespace remus::http {

/// An answer that goes on. Thread-safe. Copies refer to the same stream; it ends with finish() or the last
/// copy.
class Stream final {
 public:
  struct Impl;
  explicit Stream(std::shared_ptr<Impl> impl) noexcept;
  /// False when the reader is gone or too slow: stop writing.
  bool write(std::string chunk) const;
  void finish() const;
  [[nodiscard]] bool open() const noexcept;
  /// Called once, on the server's thread, when the reader has gone (also if it already has). Not after
  /// finish().
  void on_closed(std::function<void()> callback) const;

 private:
  std::shared_ptr<Impl> impl_;
};

/// The duty to answer one request. Thread-safe. If the last copy goes without an answer, the peer gets a 500.
class Responder final {
 public:
  struct Impl;
  explicit Responder(std::shared_ptr<Impl> impl) noexcept;
  void reply(Response response) const;
  void fail(const Error& error) const;  ///< reply(error_response(error))
  /// Begins a stream with status 200. content_type "text/event-stream" or "application/x-ndjson".
  [[nodiscard]] Stream stream(const std::string& content_type) const;

 private:
  std::shared_ptr<Impl> impl_;
};

using Handler = std::function<void(Request request, Responder responder)>;

struct ServerOptions {
  std::size_t connections_max{128};
  std::chrono::milliseconds idle_timeout{30'000};
  std::chrono::milliseconds handshake_timeout{5'000};
  std::chrono::milliseconds write_timeout{10'000};
  std::size_t stream_queue_bytes{1U << 20};
  /// Called when somebody is turned away: failed handshake, malformed request, too many connections.
  std::function<void(const std::string& remote, const Error& why)> on_rejected{};
};

struct ServerStats {
  std::size_t connections{};
  std::uint64_t requests{};
  std::uint64_t rejected{};  ///< over connections_max, failed handshakes, malformed requests
};

/// Single-threaded but for Responder and Stream. The handler is called on the io_context's thread.
class Server final {
 public:
  Server(boost::asio::io_context& io, Handler handler, const ServerOptions& options = {});
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();  ///< closes everything; removes its unix sockets

  /// Listens on a unix socket. A stale socket file is replaced, a live one is Errc::exists. `mode` e.g. 0660.
  /// `group`: numeric group to give the socket to; -1: leave.
  [[nodiscard]] Status listen_unix(const std::filesystem::path& path, mode_t mode,
                                   gid_t group = static_cast<gid_t>(-1));
  /// Listens on TLS with mutual certificates; returns the port (port 0: any free one).
  [[nodiscard]] Result<std::uint16_t> listen_tls(const link::Address& address,
                                                 std::shared_ptr<link::Pki> pki);

  void stop();
  [[nodiscard]] ServerStats stats() const noexcept;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace remus::http
