// The backup's door: accepts, checks the certificate, waits for Hello, and only then shows the peer to its
// owner.
//
// Nothing of a peer that is not enrolled is ever parsed: the TLS handshake refuses it. Bounds:
// `handshakes_max` connections that have not said Hello yet (the oldest is closed for a new one), each for at
// most `handshake_timeout`, whatever trickle of bytes it sends.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "link/connection.hpp"
#include "link/connector.hpp"

namespace remus::link {

struct ListenerOptions {
  Address address{};            ///< an IP address ("0.0.0.0", "::"); port 0: any free one
  std::string expected_host{};  ///< name the peer's certificate must carry; empty: any enrolled
  std::chrono::milliseconds handshake_timeout{5'000};  ///< TLS and Hello
  std::size_t handshakes_max{16};
  ConnectionOptions connection{};
};

/// An enrolled peer that said Hello, with a version we speak, and whose Hello.host is a name in its
/// certificate. Answer with welcome() or refuse(), now or later; dropping it closes the connection.
class Incoming final {
 public:
  struct Impl;
  explicit Incoming(std::unique_ptr<Impl> impl) noexcept;
  Incoming(Incoming&&) noexcept;
  Incoming& operator=(Incoming&&) noexcept;
  ~Incoming();

  [[nodiscard]] const Hello& hello() const noexcept;
  [[nodiscard]] const PeerCertificate& peer() const noexcept;
  [[nodiscard]] const std::string& remote_address() const noexcept;

  /// version, product_version, host and receive_window_bytes are filled in. The connection is to be
  /// start()ed.
  [[nodiscard]] std::unique_ptr<Connection> welcome(Welcome welcome) &&;
  /// Sends the refusal and closes.
  void refuse(const Refuse& refusal) &&;

 private:
  std::unique_ptr<Impl> impl_;
};

class Listener final {
 public:
  struct Handlers {
    std::function<void(Incoming incoming)> on_incoming{};
    /// A peer that did not get that far, and why: for the log. `remote` is its address.
    std::function<void(const std::string& remote, const Error& error)> on_rejected{};
  };

  /// Errors: io (address in use, not ours), denied/corrupt from the PKI.
  [[nodiscard]] static Result<std::unique_ptr<Listener>> open(boost::asio::io_context& io,
                                                              std::shared_ptr<Pki> pki,
                                                              ListenerOptions options, Handlers handlers);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();  ///< stops accepting; connections handed out live on

  [[nodiscard]] std::uint16_t port() const noexcept;

 private:
  struct Impl;
  explicit Listener(std::shared_ptr<Impl> impl) noexcept;
  std::shared_ptr<Impl> impl_;
};

}  // namespace remus::link
