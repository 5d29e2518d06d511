// Asking an HTTP server: the daemon's or a guard's unix socket, or a peer host over TLS.
//
//   Client        blocking, one request at a time: the CLI
//   AsyncClient   on an io_context, keep-alive: the guard's polling of host reports, daemon to daemon
//
// Every request has a time limit. An HTTP status that tells of failure is a Response, not an Error: see
// error_of().
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.hpp"
#include "http/types.hpp"
#include "link/connector.hpp"
#include "link/tls.hpp"

namespace boost::asio {
class io_context;
}

namespace remus::http {

struct UnixEndpoint {
  std::filesystem::path path{};
};

struct TlsEndpoint {
  link::Address address{};
  std::string expected_host{};  ///< name the peer's certificate must carry; empty: any enrolled
  std::shared_ptr<link::Pki> pki{};
};

using Endpoint = std::variant<UnixEndpoint, TlsEndpoint>;

/// What to ask. `target` is path and query, already encoded.
struct Call {
  std::string method{"GET"};
  std::string target{"/"};
  std::string body{};
};

/// Blocking. Keeps its connection between requests. Not thread-safe.
class Client final {
 public:
  explicit Client(Endpoint endpoint);
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  /// Errors: unreachable (nobody listens; for a unix socket the fix says how to start it), denied, timeout,
  /// closed, corrupt.
  [[nodiscard]] Result<Response> request(const Call& call, std::chrono::milliseconds timeout);

  /// Reads an answer that goes on, line by line (newline-delimited JSON, or "data: " lines of server-sent
  /// events, with the field name cut off and empty lines left out). Ends with success when the server
  /// finishes or `on_line` says false. `silence`: at most this long without a byte. A status ≥ 400 is
  /// returned as its error.
  [[nodiscard]] Status stream(const Call& call, std::chrono::milliseconds silence,
                              const std::function<bool(std::string_view line)>& on_line);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// On an io_context, single-threaded. Requests go one after the other over one kept connection; at most
/// `queue_max` wait.
class AsyncClient final {
 public:
  using Callback = std::function<void(Result<Response>)>;

  AsyncClient(boost::asio::io_context& io, Endpoint endpoint, std::size_t queue_max = 8);
  AsyncClient(const AsyncClient&) = delete;
  AsyncClient& operator=(const AsyncClient&) = delete;
  ~AsyncClient();  ///< no callback is called any more

  /// `callback` is called exactly once, later. The time limit counts from now, waiting in the queue included.
  /// A request that fails on a kept connection which the server had closed is sent once more on a new one if
  /// it is a GET. Errors: as Client::request; exhausted (queue full).
  void request(Call call, std::chrono::milliseconds timeout, Callback callback);
  /// Requests waiting or under way.
  [[nodiscard]] std::size_t pending() const noexcept;
  /// Closes the kept connection (e.g. after the identity changed); requests under way fail with Errc::closed.
  void disconnect();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace remus::http
