// Output commit's last gate: what the guest sent leaves only after the backup holds the epoch that sent it.
//
//   guest ── packets of epoch k ──▶│ held k │──release(k)──▶ network
//                        mark(k) ──┘ (guest paused: everything taken in so far belongs to k or earlier)
//
// hold() and mark() are called on the capture thread inside the pause: they are quick, or given up. The other calls come
// from the guard's main thread, which sends its signs of life: release(), pass() and stats() do not wait long. Order is
// kept, nothing is lost or doubled between attach() and detach().
#pragma once

#include <cstdint>
#include <functional>

#include "base/error.hpp"
#include "checkpoint/layout.hpp"

namespace remus::output {

struct OutputStats {
  std::uint64_t held_packets{};
  std::uint64_t held_bytes{};
  std::uint64_t released_packets{};
  std::uint64_t released_bytes{};
  std::uint64_t dropped_packets{};  ///< at the limit (tail drop, as a full NIC queue would) and at discard()
};

class OutputBuffer {
 public:
  OutputBuffer() = default;
  OutputBuffer(const OutputBuffer&) = delete;
  OutputBuffer& operator=(const OutputBuffer&) = delete;
  virtual ~OutputBuffer() = default;  ///< detaches

  /// Called (on any thread, at most once per epoch) when the epoch under way has its first packet waiting.
  virtual void on_waiting(std::function<void()> callback) = 0;

  /// Puts the buffer into the running guest's way; packets pass until hold().
  virtual Status attach() = 0;
  /// From now on nothing leaves before its epoch's release. Called while the guest is paused. After an error
  /// packets pass as before.
  [[nodiscard]] virtual Status hold() = 0;
  /// Everything the guest has sent so far belongs to epochs ≤ `epoch`. Called while the guest is paused. Errors: timeout
  /// (whatever keeps it from being done, the guest shall not stand still for it): then this epoch must not be committed.
  [[nodiscard]] virtual Status mark(checkpoint::Epoch epoch) = 0;
  /// Lets go everything of epochs ≤ `upto`, in order.
  virtual void release(checkpoint::Epoch upto) = 0;
  /// Lets go everything, and lets everything pass from now on (protection has ended, the guest goes on
  /// alone).
  virtual void pass() = 0;
  /// Throws away all that is held and keeps holding (this host's guest has been superseded).
  virtual void discard() = 0;
  /// Takes the buffer out of the guest's way; what is held is let go first.
  virtual Status detach() = 0;

  [[nodiscard]] virtual OutputStats stats() const = 0;
};

}  // namespace remus::output
