#include "link/connection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "base/assert.hpp"
#include "link/connection_impl.hpp"

namespace remus::link {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t read_buffer_bytes = std::size_t{32} * 1024;  // two TLS records
/// Frames given to one write: enough to keep the stream busy, little enough that a heartbeat soon has its
/// turn.
constexpr std::size_t write_bytes_target = std::size_t{128} * 1024;
constexpr std::chrono::milliseconds refusal_timeout{1'000};
/// After a failed write, how long to wait for the read side to say why (a TLS alert, a Refuse) before giving
/// up.
constexpr std::chrono::milliseconds reason_timeout{500};
constexpr std::chrono::milliseconds bandwidth_wait_min{1};

std::chrono::steady_clock::time_point now_of(const ConnectionOptions& options) {
  return options.now ? options.now() : std::chrono::steady_clock::now();
}

}  // namespace

Connection::Impl::Impl(std::unique_ptr<TlsStream> stream, PeerCertificate peer, std::string remote,
                       ConnectionOptions options)
    : stream_{std::move(stream)},
      peer_{std::move(peer)},
      remote_{std::move(remote)},
      options_{std::move(options)},
      read_buffer_(read_buffer_bytes),
      bucket_{options_.bandwidth_bytes_per_s, now_of(options_)},
      bandwidth_timer_{stream_->get_executor()},
      end_timer_{stream_->get_executor()} {
  options_.receive_window_bytes =
      std::clamp(options_.receive_window_bytes, static_cast<std::uint32_t>(receive_window_bytes_min),
                 static_cast<std::uint32_t>(receive_window_bytes_max));
}

void Connection::Impl::start(Handlers handlers) {
  handlers_ = std::make_shared<const Handlers>(std::move(handlers));
  if (finished_) {
    report_closed();
    return;
  }
  // Later, so that a caller sees no callback before start() has returned.
  asio::post(stream_->get_executor(), [self = shared_from_this()] { self->deliver_input(); });
}

// ── reading ─────────────────────────────────────────────────────

void Connection::Impl::read() {
  if (reading_ || finished_) return;
  reading_ = true;
  stream_->async_read_some(
      asio::buffer(read_buffer_),
      [self = shared_from_this()](error_code error, std::size_t bytes) { self->on_read(error, bytes); });
}

void Connection::Impl::on_read(error_code error, std::size_t bytes) {
  reading_ = false;
  if (finished_) return;
  if (error) {
    if (flushing_) {
      finish(end_reason_);
    } else if (is_clean_end(error) && decoder_.at_boundary()) {
      finish({Errc::closed, fmt::format("{} closed the connection", remote_), ""});
    } else {
      finish(explain_tls(error, nullptr, remote_));
    }
    return;
  }
  if (flushing_) {  // our owner has said goodbye: only the end of the stream is of interest
    read();
    return;
  }
  input_ = std::span<const std::byte>{read_buffer_}.first(bytes);
  deliver_input();
}

void Connection::Impl::deliver_input() {
  if (delivering_) return;  // a handler called start(): the loop below goes on with the new handlers
  const auto self = shared_from_this();
  delivering_ = true;
  while (handlers_ && !input_.empty() && !finished_ && !flushing_) {
    auto frame = decoder_.next(input_);
    if (!frame) {
      protocol_error(frame.error());
      break;
    }
    std::optional<Frame>& whole = *frame;
    if (!whole) break;
    if (Status delivered = deliver(std::move(*whole)); !delivered) {
      protocol_error(delivered.error());
      break;
    }
  }
  delivering_ = false;
  if (flushing_) input_ = {};
  if ((handlers_ && input_.empty()) || flushing_) read();
}

Status Connection::Impl::deliver(Frame frame) {
  const std::size_t wire_bytes = frame.wire_bytes();
  const bool bulk = frame.header.bulk();
  auto decoded = decode(frame);
  if (!decoded) return std::unexpected(decoded.error());
  std::optional<Message>& known = *decoded;
  if (Status good = account_received(frame, known ? &*known : nullptr); !good) return good;
  if (!known) {  // unknown, and its sender says it may be skipped
    if (bulk) consumed(wire_bytes);
    return {};
  }
  Message& message = *known;
  if (const auto* update = std::get_if<WindowUpdate>(&message)) return grant(update->consumed_bytes);
  if (const auto* ack = std::get_if<Ack>(&message))
    if (Status granted = grant(ack->consumed_bytes); !granted) return granted;
  if (const auto* refusal = std::get_if<Refuse>(&message)) {
    finish(refusal->error().in(fmt::format("{} refused", remote_)));
    return {};
  }
  const bool opening = std::holds_alternative<Hello>(message) || std::holds_alternative<Welcome>(message);
  if (opening != (frame.header.sequence == 0))
    return fail(Errc::corrupt,
                fmt::format("frame {} is a {} message where none may be", frame.header.sequence,
                            to_string(static_cast<MessageType>(frame.header.type))));
  const auto handlers = handlers_;  // a handler may replace the handlers, or destroy the connection
  if (handlers->on_message) handlers->on_message(std::move(message), bulk ? wire_bytes : 0);
  if (bulk && options_.consume_on_return && !finished_) consumed(wire_bytes);
  return {};
}

Status Connection::Impl::account_received(const Frame& frame, const Message* message) {
  ++stats_.received_frames;
  stats_.received_bytes += frame.wire_bytes();
  if (message != nullptr && (lane_of(*message) == Lane::bulk) != frame.header.bulk())
    return fail(Errc::corrupt,
                fmt::format("frame {} ({}) has the bulk flag {} against the protocol", frame.header.sequence,
                            to_string(static_cast<MessageType>(frame.header.type)),
                            frame.header.bulk() ? "set" : "clear"));
  if (!frame.header.bulk()) return {};
  stats_.received_bulk_bytes += frame.wire_bytes();
  if (stats_.received_bulk_bytes - consumed_bytes_ > options_.receive_window_bytes)
    return fail(Errc::corrupt, fmt::format("{} sent more than the receive window of {} bytes allows", remote_,
                                           options_.receive_window_bytes));
  return {};
}

Status Connection::Impl::grant(std::uint64_t consumed_bytes) {
  if (consumed_bytes < peer_consumed_bytes_ || consumed_bytes > stats_.sent_bulk_bytes)
    return fail(Errc::corrupt,
                fmt::format("{} says it has consumed {} bytes; between {} and {} are possible", remote_,
                            consumed_bytes, peer_consumed_bytes_, stats_.sent_bulk_bytes));
  peer_consumed_bytes_ = consumed_bytes;
  pump();
  return {};
}

void Connection::Impl::protocol_error(const Error& error) {
  // The peer is told, so that its administrator reads the reason too.
  if (finished_ || flushing_) return;
  static_cast<void>(send(Refuse{error.kind, error.what, error.fix}));
  close_after_flush(refusal_timeout, error.in(fmt::format("from {}", remote_)));
}

// ── writing ─────────────────────────────────────────────────────

Status Connection::Impl::send(const Message& message) {
  if (finished_ || flushing_)
    return fail(Errc::closed, fmt::format("the connection with {} is closed", remote_));
  if (lane_of(message) == Lane::bulk && !writable())
    return fail(Errc::exhausted,
                fmt::format("the send queue to {} is full ({} bytes)", remote_, stats_.queued_bulk_bytes));
  Outgoing out;
  if (const auto* ack = std::get_if<Ack>(&message)) {
    Ack told = *ack;
    told.consumed_bytes = consumed_bytes_;
    out = encode(told);
    announced_bytes_ = consumed_bytes_;
  } else {
    out = encode(message);
  }
  if (out.lane == Lane::bulk) {
    stats_.queued_bulk_bytes += out.wire_bytes();
    bulk_.push_back(std::move(out));
    // Now, not when a send is refused: a writer that asks writable() first never has one refused.
    if (!writable()) was_full_ = true;
  } else {
    if (control_.size() >= options_.control_queue_frames) {
      Error full{Errc::exhausted,
                 fmt::format("{} does not read: {} control messages are waiting", remote_, control_.size()),
                 ""};
      close(full);
      return std::unexpected(std::move(full));
    }
    control_.push_back(std::move(out));
  }
  pump();
  return {};
}

bool Connection::Impl::writable() const noexcept {
  return open() && stats_.queued_bulk_bytes < options_.send_queue_bytes;
}

bool Connection::Impl::bulk_may_go() {
  if (bulk_.empty()) return false;
  const std::uint64_t next = stats_.sent_bulk_bytes + bulk_.front().wire_bytes();
  if (next > peer_consumed_bytes_ + peer_window_bytes_) {
    if (!std::exchange(window_stalled_, true)) ++stats_.window_stalls;
    return false;
  }
  window_stalled_ = false;
  const auto wait = bucket_.wait(now_of(options_));
  if (wait == TokenBucket::Duration::zero()) {
    bandwidth_stalled_ = false;
    return true;
  }
  if (!std::exchange(bandwidth_stalled_, true)) ++stats_.bandwidth_stalls;
  bandwidth_timer_.expires_after(std::max<TokenBucket::Duration>(wait, bandwidth_wait_min));
  bandwidth_timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->pump();
  });
  return false;
}

void Connection::Impl::take(std::deque<Outgoing>& queue) {
  Outgoing message = std::move(queue.front());
  queue.pop_front();
  const std::size_t payload_bytes = message.head.size() + message.tail.size();
  const auto flags = static_cast<std::uint16_t>((message.lane == Lane::bulk ? frame_flag::bulk : 0) |
                                                (message.optional ? frame_flag::optional : 0));
  const FrameHeader header{static_cast<std::uint16_t>(message.type), flags,
                           static_cast<std::uint32_t>(payload_bytes), next_sequence_++};
  const auto bytes = encode_frame_header(header, message.head, message.tail.bytes());
  const std::size_t wire_bytes = message.wire_bytes();
  ++stats_.sent_frames;
  stats_.sent_bytes += wire_bytes;
  if (message.lane == Lane::bulk) {
    stats_.sent_bulk_bytes += wire_bytes;
    stats_.queued_bulk_bytes -= wire_bytes;
    bucket_.take(wire_bytes);
  }
  in_flight_.push_back({std::move(message), bytes});
}

void Connection::Impl::pump() {
  if (writing_ || finished_ || shutdown_begun_) return;
  const std::uint64_t before = stats_.sent_bytes;
  const auto room = [&] { return stats_.sent_bytes - before < write_bytes_target; };
  while (!control_.empty() && room()) take(control_);
  while (room() && bulk_may_go()) take(bulk_);
  if (in_flight_.empty()) {
    if (flushing_ && control_.empty() && bulk_.empty()) begin_shutdown();
    return;
  }
  std::vector<asio::const_buffer> buffers;
  buffers.reserve(in_flight_.size() * 3);
  for (const InFlight& frame : in_flight_) {
    buffers.emplace_back(frame.header.data(), frame.header.size());
    if (!frame.message.head.empty())
      buffers.emplace_back(frame.message.head.data(), frame.message.head.size());
    const auto tail = frame.message.tail.bytes();
    if (!tail.empty()) buffers.emplace_back(tail.data(), tail.size());
  }
  writing_ = true;
  asio::async_write(*stream_, buffers,
                    [self = shared_from_this()](error_code error, std::size_t) { self->on_written(error); });
}

void Connection::Impl::on_written(error_code error) {
  writing_ = false;
  in_flight_.clear();
  if (finished_) return;
  if (error) {
    Error reason = explain_tls(error, nullptr, remote_);
    if (!reading_ || flushing_) {
      finish(flushing_ ? end_reason_ : std::move(reason));
      return;
    }
    control_.clear();
    bulk_.clear();
    writing_ = true;  // nothing can be written any more
    end_timer_.expires_after(reason_timeout);
    end_timer_.async_wait([self = shared_from_this(), reason](error_code cancelled) {
      if (!cancelled) self->finish(reason);
    });
    return;
  }
  if (was_full_ && stats_.queued_bulk_bytes <= options_.send_queue_bytes / 2) {
    was_full_ = false;
    const auto handlers = handlers_;
    if (handlers && handlers->on_writable) handlers->on_writable();
  }
  pump();
}

void Connection::Impl::consumed(std::size_t bulk_bytes) {
  consumed_bytes_ += bulk_bytes;
  REMUS_ASSERT("pre", consumed_bytes_ <= stats_.received_bulk_bytes, "no more is consumed than was received");
  announce_consumed();
}

void Connection::Impl::announce_consumed() {
  // A quarter of the window at a time: few frames, and the sender never sees the end of it if we keep up.
  if (!open() || consumed_bytes_ - announced_bytes_ < options_.receive_window_bytes / 4) return;
  announced_bytes_ = consumed_bytes_;
  static_cast<void>(send(WindowUpdate{consumed_bytes_}));
}

void Connection::Impl::set_bandwidth(std::uint64_t bytes_per_s) {
  bucket_.set_rate(bytes_per_s, now_of(options_));
  bandwidth_timer_.cancel();
  pump();
}

// ── ending ──────────────────────────────────────────────────────

void Connection::Impl::close(Error reason) {
  finish(std::move(reason));
}

void Connection::Impl::close_after_flush(std::chrono::milliseconds timeout, Error reason) {
  if (finished_ || flushing_) return;
  flushing_ = true;
  end_reason_ = std::move(reason);
  end_timer_.expires_after(timeout);
  end_timer_.async_wait([self = shared_from_this()](error_code cancelled) {
    if (!cancelled) self->finish(self->end_reason_);
  });
  if (!delivering_) {
    input_ = {};
    read();
  }
  pump();
}

void Connection::Impl::begin_shutdown() {
  // Closing the socket with unread input would make the kernel send a reset, and the peer might never see our
  // last words. So TLS is shut down first; the peer's own close, or the time limit, ends it.
  shutdown_begun_ = true;
  stream_->async_shutdown([self = shared_from_this()](error_code error) {
    // An error is most often a message of the peer's that was on its way: its close is still to come.
    if (!self->finished_ && (!error || !self->reading_)) self->finish(self->end_reason_);
  });
}

void Connection::Impl::finish(Error reason) {
  if (finished_) return;
  finished_ = true;
  end_reason_ = std::move(reason);
  error_code ignored;
  stream_->lowest_layer().close(ignored);
  bandwidth_timer_.cancel();
  end_timer_.cancel();
  control_.clear();
  bulk_.clear();
  stats_.queued_bulk_bytes = 0;
  if (handlers_) report_closed();
}

void Connection::Impl::report_closed() {
  asio::post(stream_->get_executor(), [self = shared_from_this()] {
    const auto handlers = std::exchange(self->handlers_, nullptr);
    if (self->abandoned_ || !handlers || !handlers->on_closed) return;
    self->abandoned_ = true;
    handlers->on_closed(self->end_reason_);
  });
}

void Connection::Impl::abandon() {
  abandoned_ = true;
  handlers_.reset();
  finish({Errc::closed, "the connection was given up", ""});
}

ConnectionStats Connection::Impl::stats() const noexcept {
  ConnectionStats out = stats_;
  out.window_left_bytes = peer_consumed_bytes_ + peer_window_bytes_ - stats_.sent_bulk_bytes;
  return out;
}

// ── the face ────────────────────────────────────────────────────

Connection::Connection(std::shared_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
Connection::~Connection() {
  impl_->abandon();
}
void Connection::start(Handlers handlers) {
  impl_->start(std::move(handlers));
}
Status Connection::send(const Message& message) {
  return impl_->send(message);
}
bool Connection::writable() const noexcept {
  return impl_->writable();
}
void Connection::consumed(std::size_t bulk_bytes) {
  impl_->consumed(bulk_bytes);
}
void Connection::close(Error reason) {
  impl_->close(std::move(reason));
}
void Connection::close_after_flush(std::chrono::milliseconds timeout, Error reason) {
  impl_->close_after_flush(timeout, std::move(reason));
}
void Connection::set_bandwidth(std::uint64_t bytes_per_s) {
  impl_->set_bandwidth(bytes_per_s);
}
bool Connection::open() const noexcept {
  return impl_->open();
}
ConnectionStats Connection::stats() const noexcept {
  return impl_->stats();
}
const PeerCertificate& Connection::peer() const noexcept {
  return impl_->peer();
}
const std::string& Connection::remote_address() const noexcept {
  return impl_->remote();
}

}  // namespace remus::link
