// The socket between QEMU's COLO source and us, as the secondary.
//
// A socket pair: one end is handed to QEMU by QMP (getfd), so no path exists that anybody else could connect
// to, and both buffers are made large, so that QEMU writes a whole checkpoint without waiting for our thread
// to be scheduled.
//
// Used by one thread; interrupt() may be called from any.
#pragma once

#include <atomic>
#include <chrono>
#include <initializer_list>

#include "base/fd.hpp"
#include "hypervisor/qemu/byte_source.hpp"
#include "hypervisor/qemu/stream_parser.hpp"

namespace remus::hypervisor::qemu {

class ColoChannel final : public ByteSource {
 public:
  using Milliseconds = std::chrono::milliseconds;
  static constexpr int buffer_bytes = 16 << 20;

  /// Makes the pair. Errors: io.
  Status open();
  [[nodiscard]] int qemu_end() const noexcept { return theirs_.get(); }
  /// QEMU has its own duplicate now.
  void close_qemu_end() noexcept { theirs_.reset(); }
  /// Ends the connection: QEMU sees its secondary gone.
  void close() noexcept;
  [[nodiscard]] bool is_open() const noexcept { return static_cast<bool>(ours_); }

  /// Longest silence accepted by read() and receive().
  void set_patience(Milliseconds patience) noexcept { patience_ = patience; }

  Result<std::size_t> read(std::span<std::byte> into) override;
  /// Exactly one message; errors: corrupt if it is another one.
  Status expect(ColoMessage message);
  /// All in one write: QEMU reads them one by one.
  Status send(std::initializer_list<ColoMessage> messages);
  /// Return-path messages of QEMU ≥ 11.
  Status send_pong(std::uint32_t value);
  Status send_shut();

  /// Makes a wait under way, and every later one until reset_interrupt(), return Errc::closed.
  void interrupt() noexcept;
  void reset_interrupt() noexcept;

 private:
  Status wait_readable();
  Status send_bytes(std::span<const std::byte> bytes);

  Fd ours_{};
  Fd theirs_{};
  Fd wake_{};
  std::atomic<bool> interrupted_{false};
  Milliseconds patience_{10'000};
};

}  // namespace remus::hypervisor::qemu
