// One established, authenticated connection between two guards, carrying messages both ways.
//
//             send()                                         on_message
//   control ──▶ ▒▒ ────────┐                                     ▲
//                          ├─▶ frame ─▶ TLS ─▶ ... ─▶ TLS ─▶ decoder
//   bulk    ──▶ ▒▒▒▒▒▒▒ ───┘                                     │ done with it: consumed()
//                 ▲  window, bandwidth limit                     ▼
//                 └───────────────◀── Ack, WindowUpdate ◀── consumed bytes
//
// A heartbeat must not wait behind 100 MB of pages. So there are two lanes (messages.hpp: Lane): control
// frames go between two bulk frames, and only little bulk is handed to the kernel at a time
// (TCP_NOTSENT_LOWAT). For the same reason the receiver never stops reading: it holds the sender back by
// credit (the receive window) instead.
//
// Bounds: bulk queue `send_queue_bytes` (send() says exhausted; on_writable() tells when to go on), control
// queue `control_queue_frames` (beyond it the peer is not reading at all: the connection is closed), receive
// memory by the window (a peer that exceeds it is cut off), one frame under way in each direction.
//
// Order: messages of one lane arrive in order. A control message may overtake bulk sent before it, never the
// reverse.
//
// A Refuse from the peer ends the connection: its kind, sentence and fix come with on_closed. What breaks the
// protocol is answered with a Refuse, so that both sides' logs tell why.
//
// Single-threaded: every call and callback on the io_context's thread. A callback may destroy the connection.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "link/messages.hpp"
#include "link/tls.hpp"

namespace remus::link {

struct ConnectionOptions {
  std::size_t send_queue_bytes{32U << 20};
  std::size_t control_queue_frames{4096};
  std::uint32_t receive_window_bytes{64U << 20};  ///< told to the peer in Hello or Welcome
  std::uint64_t bandwidth_bytes_per_s{0};         ///< of bulk; 0: no limit
  /// True: a message's bulk bytes are given back when on_message returns. False: the owner calls consumed().
  bool consume_on_return{true};
  std::chrono::milliseconds tcp_user_timeout{10'000};
  /// Clock of the bandwidth limit; for tests.
  std::function<std::chrono::steady_clock::time_point()> now{};
};

struct ConnectionStats {
  std::uint64_t sent_bytes{};  ///< frames with their headers, before TLS
  std::uint64_t sent_frames{};
  std::uint64_t sent_bulk_bytes{};
  std::uint64_t received_bytes{};
  std::uint64_t received_frames{};
  std::uint64_t received_bulk_bytes{};
  std::uint64_t queued_bulk_bytes{};
  std::uint64_t window_left_bytes{};  ///< what the peer would still take
  std::uint64_t window_stalls{};      ///< times bulk waited for the window
  std::uint64_t bandwidth_stalls{};   ///< times bulk waited for the bandwidth limit
};

class Connection final {
 public:
  struct Handlers {
    /// `bulk_bytes`: what to give to consumed() later (0 for control messages).
    std::function<void(Message message, std::size_t bulk_bytes)> on_message{};
    /// The bulk queue has fallen to half its limit after it was full: after writable() was false.
    std::function<void()> on_writable{};
    /// Exactly once, whatever the cause, unless the owner destroyed the connection before; nothing follows
    /// it. Errc::closed: the peer ended in good order. Never called from within send() or close().
    std::function<void(Error)> on_closed{};
  };

  struct Impl;
  explicit Connection(std::shared_ptr<Impl> impl) noexcept;  ///< by Listener and Connector
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();  ///< closes at once, without calling anything

  /// Begins to deliver. What arrived before is delivered then. Handlers may be replaced by calling again.
  void start(Handlers handlers);

  /// Queues a message. Opaque payloads are not copied. Errors: exhausted (bulk queue full; wait for
  /// on_writable()), closed. Ack's consumed_bytes is filled in.
  [[nodiscard]] Status send(const Message& message);
  /// Whether a bulk send() would be taken.
  [[nodiscard]] bool writable() const noexcept;
  /// With consume_on_return off: `bulk_bytes` of delivered messages need no memory any more.
  void consumed(std::size_t bulk_bytes);

  /// Closes at once; on_closed follows with `reason`. What is queued is lost.
  void close(Error reason);
  /// Sends what is queued (a Goodbye), then closes; within `timeout` at the latest.
  void close_after_flush(std::chrono::milliseconds timeout, Error reason);

  void set_bandwidth(std::uint64_t bytes_per_s);
  [[nodiscard]] bool open() const noexcept;
  [[nodiscard]] ConnectionStats stats() const noexcept;
  [[nodiscard]] const PeerCertificate& peer() const noexcept;
  [[nodiscard]] const std::string& remote_address() const noexcept;  ///< "192.0.2.7:7411"

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace remus::link
