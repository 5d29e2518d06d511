// Device state on the wire.
//
// It goes with every epoch, some 100 KiB of it, and most of it is the same each time. So it is packed by zstd
// with the previous epoch's state as its dictionary, which leaves little more than what changed. Encoder and
// decoder must see the same states in the same order; reset() both at a new session.
//
//   u8 version = 1 | u8 form: 0 stored, 1 zstd, 2 zstd against the previous state | u16 0 | u32 state bytes |
//   bytes
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.hpp"

namespace remus::checkpoint {

inline constexpr std::size_t device_state_bytes_max = 64UL << 20;
inline constexpr std::size_t device_header_bytes = 8;
inline constexpr std::size_t device_packed_bytes_max = device_header_bytes + device_state_bytes_max;

class DeviceEncoder final {
 public:
  DeviceEncoder();
  DeviceEncoder(const DeviceEncoder&) = delete;
  DeviceEncoder& operator=(const DeviceEncoder&) = delete;
  ~DeviceEncoder();

  /// Replaces `out`. Errors: exhausted, if `state` is larger than device_state_bytes_max; nothing is
  /// remembered then.
  [[nodiscard]] Status encode(std::span<const std::byte> state, std::vector<std::byte>& out);
  void reset() noexcept { previous_.clear(); }

 private:
  struct Context;
  std::unique_ptr<Context> context_;
  std::vector<std::byte> previous_{};
};

class DeviceDecoder final {
 public:
  DeviceDecoder();
  DeviceDecoder(const DeviceDecoder&) = delete;
  DeviceDecoder& operator=(const DeviceDecoder&) = delete;
  ~DeviceDecoder();

  /// The state, valid until the next decode() or reset(). Errors: corrupt; the previous state is then kept.
  [[nodiscard]] Result<std::span<const std::byte>> decode(std::span<const std::byte> packed);
  void reset() noexcept { state_.clear(); }

 private:
  struct Context;
  std::unique_ptr<Context> context_;
  std::vector<std::byte> state_{};
  std::vector<std::byte> next_{};
};

}  // namespace remus::checkpoint
