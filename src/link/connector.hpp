// The primary's way to its backup: try every address, again and again, until there is a connection or we are
// told to stop.
//
//   address 1 ─ TCP ─ TLS ─ Hello/Welcome ──▶ on_connected(connection, welcome)
//   address 2 ─ ...          any failure ───▶ next address; after the last: on_failed(error), wait, again
//
// The wait doubles from backoff_min to backoff_max, with ±25 % jitter so that a host's guests don't come all
// at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "link/connection.hpp"

namespace boost::asio {
class io_context;
}

namespace remus::link {

struct Address {
  std::string host{};  ///< name or IP address
  std::uint16_t port{};
  [[nodiscard]] std::string text() const;  ///< "host:port", "[v6]:port"
};

/// "host:port", "[v6]:port", or a bare host with `default_port`. Errors: invalid.
[[nodiscard]] Result<Address> parse_address(const std::string& text, std::uint16_t default_port);

struct ConnectorOptions {
  std::vector<Address> addresses{};  ///< at least one
  std::string expected_host{};       ///< name the peer's certificate must carry; empty: any enrolled
  std::chrono::milliseconds connect_timeout{2'000};    ///< TCP, per address (and for its name's look-up)
  std::chrono::milliseconds handshake_timeout{5'000};  ///< TLS and Welcome
  std::chrono::milliseconds backoff_min{100};
  std::chrono::milliseconds backoff_max{5'000};
  ConnectionOptions connection{};
};

class Connector final {
 public:
  struct Handlers {
    /// Asked at each attempt, so that session and generation are current. host and receive_window_bytes are
    /// filled in.
    std::function<Hello()> hello{};
    std::function<void(std::unique_ptr<Connection> connection, Welcome welcome)> on_connected{};
    /// After a round through all addresses. The error's kind is the most telling one (refused or denied
    /// before unreachable), its sentence names each address and why. Attempts go on unless stop() is called.
    std::function<void(Error error, std::chrono::milliseconds next_attempt_in)> on_failed{};
  };

  Connector(boost::asio::io_context& io, std::shared_ptr<Pki> pki, ConnectorOptions options,
            Handlers handlers);
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;
  ~Connector();  ///< stops

  /// Begins (again, after a connection was lost) with the first address, at once; after connections that did not
  /// last, with a wait that grows.
  void start();
  /// No handler is called any more until start().
  void stop();
  [[nodiscard]] bool running() const noexcept;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace remus::link
