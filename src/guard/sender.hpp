// Puts encoded epochs on the link in order, and keeps them until the backup holds them.
//
//   kept:  | epoch 7 | epoch 8 | epoch 9 |           acknowledged ≤ 6, forgotten
//   sent ────────────────▲ part 3 of epoch 8         waits here while the connection's queue is full
//
// After a reconnect resend(after) goes back to the first epoch the backup does not hold: the very same bytes again.
// Main thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>

#include "guard/outbound.hpp"
#include "link/connection.hpp"

namespace remus::guard {

class Sender final {
 public:
  /// Uses `connection` (not owned) from now on; nothing is sent before push() or resend().
  void attach(link::Connection* connection);
  void detach() { connection_ = nullptr; }

  void push(Outbound item);
  /// Sends again every kept epoch > `after`.
  void resend(engine::Epoch after);
  /// The backup holds all epochs ≤ `upto`.
  void forget(engine::Epoch upto);
  /// The session is over.
  void clear();
  /// Goes on where it had to wait; call from Connection's on_writable.
  void pump();

  [[nodiscard]] std::size_t kept_bytes() const noexcept;
  [[nodiscard]] std::uint64_t sent_payload_bytes() const noexcept { return sent_payload_bytes_; }

 private:
  [[nodiscard]] bool send_part(const Outbound& item);
  [[nodiscard]] bool send_sync(const Outbound& item);
  [[nodiscard]] bool send_epoch(const Outbound& item);
  [[nodiscard]] bool send_end(const Outbound& item);
  [[nodiscard]] bool send(const link::Message& message);
  [[nodiscard]] std::size_t parts(const Outbound& item) const noexcept;

  link::Connection* connection_{nullptr};
  std::deque<Outbound> items_{};
  std::size_t next_{0};  ///< item being sent
  std::size_t part_{0};  ///< of that item
  std::uint32_t sync_batch_{0};
  std::uint32_t disk_sync_batch_{0};
  std::uint64_t sent_payload_bytes_{0};
};

}  // namespace remus::guard
