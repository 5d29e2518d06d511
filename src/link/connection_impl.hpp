// The inside of a Connection. Private to the room: listener and connector use it for Hello and Welcome.
#pragma once

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/token_bucket.hpp"
#include "link/connection.hpp"
#include "link/frame.hpp"
#include "link/tls_stream.hpp"

namespace remus::link {

/// Lives as long as its Connection or an operation under way.
struct Connection::Impl final : std::enable_shared_from_this<Connection::Impl> {
  Impl(std::unique_ptr<TlsStream> stream, PeerCertificate peer, std::string remote,
       ConnectionOptions options);

  void start(Handlers handlers);
  /// Ends delivery after the message being delivered, until start() is called again.
  void pause_delivery() noexcept { handlers_.reset(); }
  [[nodiscard]] Status send(const Message& message);
  void consumed(std::size_t bulk_bytes);
  void close(Error reason);
  void close_after_flush(std::chrono::milliseconds timeout, Error reason);
  /// Ends now and calls nobody.
  void abandon();

  /// From the peer's Hello or Welcome. Until then no bulk is sent.
  void set_peer_window(std::uint32_t bytes) noexcept { peer_window_bytes_ = bytes; }
  void set_payload_bytes_max(std::size_t bytes) noexcept { decoder_.set_payload_bytes_max(bytes); }
  void set_bandwidth(std::uint64_t bytes_per_s);

  [[nodiscard]] bool open() const noexcept { return !finished_ && !flushing_; }
  [[nodiscard]] bool writable() const noexcept;
  [[nodiscard]] ConnectionStats stats() const noexcept;
  [[nodiscard]] const PeerCertificate& peer() const noexcept { return peer_; }
  [[nodiscard]] const std::string& remote() const noexcept { return remote_; }
  [[nodiscard]] const ConnectionOptions& options() const noexcept { return options_; }

 private:
  struct InFlight {
    Outgoing message;
    std::array<std::byte, frame_header_bytes> header;
  };

  // reading
  void read();
  void on_read(boost::system::error_code error, std::size_t bytes);
  void deliver_input();
  [[nodiscard]] Status deliver(Frame frame);
  [[nodiscard]] Status account_received(const Frame& frame, const Message* message);
  [[nodiscard]] Status grant(std::uint64_t consumed_bytes);
  void protocol_error(const Error& error);

  // writing
  void pump();
  [[nodiscard]] bool bulk_may_go();
  void take(std::deque<Outgoing>& queue);
  void on_written(boost::system::error_code error);
  void announce_consumed();
  void begin_shutdown();

  // ending
  void finish(Error reason);
  void report_closed();

  std::unique_ptr<TlsStream> stream_;
  PeerCertificate peer_;
  std::string remote_;
  ConnectionOptions options_;
  std::shared_ptr<const Handlers> handlers_{};

  FrameDecoder decoder_{};
  std::vector<std::byte> read_buffer_;
  std::span<const std::byte> input_{};  ///< part of read_buffer_ not delivered yet
  bool reading_{false};
  bool delivering_{false};

  std::deque<Outgoing> control_{};
  std::deque<Outgoing> bulk_{};
  std::vector<InFlight> in_flight_{};
  bool writing_{false};
  bool was_full_{false};
  bool window_stalled_{false};
  bool bandwidth_stalled_{false};
  std::uint64_t next_sequence_{0};
  std::uint64_t peer_window_bytes_{0};
  std::uint64_t peer_consumed_bytes_{0};
  std::uint64_t consumed_bytes_{0};
  std::uint64_t announced_bytes_{0};
  TokenBucket bucket_;
  boost::asio::steady_timer bandwidth_timer_;
  boost::asio::steady_timer end_timer_;

  bool flushing_{false};
  bool shutdown_begun_{false};
  bool finished_{false};
  bool abandoned_{false};
  Error end_reason_{};  ///< set when flushing_ or finished_
  ConnectionStats stats_{};
};

}  // namespace remus::link
