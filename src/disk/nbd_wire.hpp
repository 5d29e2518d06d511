// The words of the NBD protocol that a server of one export needs, as numbers and as bytes.
//
// Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md ("fixed newstyle", simple replies). All
// integers on the wire are big-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace remus::disk::nbd {

inline constexpr std::uint64_t init_magic = 0x4e42444d41474943;    ///< "NBDMAGIC"
inline constexpr std::uint64_t option_magic = 0x49484156454f5054;  ///< "IHAVEOPT"
inline constexpr std::uint64_t option_reply_magic = 0x0003e889045565a9;
inline constexpr std::uint32_t request_magic = 0x25609513;
inline constexpr std::uint32_t reply_magic = 0x67446698;

inline constexpr std::uint16_t handshake_fixed_newstyle = 1U << 0U;
inline constexpr std::uint16_t handshake_no_zeroes = 1U << 1U;

enum class Option : std::uint32_t { export_name = 1, abort = 2, list = 3, info = 6, go = 7 };

enum class OptionReply : std::uint32_t {
  ack = 1,
  server = 2,
  info = 3,
  unsupported = (1U << 31U) + 1,
  invalid = (1U << 31U) + 3,
  unknown = (1U << 31U) + 6,
};

inline constexpr std::uint16_t info_export = 0;
inline constexpr std::uint16_t info_block_size = 3;

/// What an export can do, told at the handshake.
inline constexpr std::uint16_t has_flags = 1U << 0U;
inline constexpr std::uint16_t send_flush = 1U << 2U;
inline constexpr std::uint16_t send_fua = 1U << 3U;
inline constexpr std::uint16_t send_trim = 1U << 5U;
inline constexpr std::uint16_t send_write_zeroes = 1U << 6U;
inline constexpr std::uint16_t can_multi_conn = 1U << 8U;
inline constexpr std::uint16_t send_fast_zero = 1U << 11U;

enum class Command : std::uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  write_zeroes = 6
};

inline constexpr std::uint16_t flag_fua = 1U << 0U;
inline constexpr std::uint16_t flag_no_hole = 1U << 1U;
inline constexpr std::uint16_t flag_fast_zero = 1U << 4U;

/// Errors of a reply (errno's numbers of Linux, fixed by the protocol).
enum class Errno : std::uint32_t { none = 0, perm = 1, io = 5, invalid = 22, no_space = 28 };

inline constexpr std::size_t request_bytes = 28;
inline constexpr std::size_t reply_bytes = 16;

/// A big-endian integer of `bytes.size()` bytes, at most 8.
[[nodiscard]] constexpr std::uint64_t load(std::span<const std::byte> bytes) noexcept {
  std::uint64_t value = 0;
  for (const std::byte byte : bytes) value = (value << 8U) | std::to_integer<std::uint64_t>(byte);
  return value;
}

constexpr void store(std::span<std::byte> bytes, std::uint64_t value) noexcept {
  for (std::size_t i = bytes.size(); i-- != 0; value >>= 8U) bytes[i] = static_cast<std::byte>(value & 0xffU);
}

/// Appends `value` as a big-endian integer of `bytes` bytes.
inline void append(std::vector<std::byte>& out, std::uint64_t value, std::size_t bytes) {
  out.resize(out.size() + bytes);
  store(std::span{out}.last(bytes), value);
}

struct Request {
  std::uint16_t flags{};
  std::uint16_t type{};
  std::uint64_t cookie{};
  std::uint64_t offset{};
  std::uint32_t length{};
};

/// `bytes`: request_bytes of them, whose magic was checked.
[[nodiscard]] constexpr Request load_request(std::span<const std::byte> bytes) noexcept {
  return {.flags = static_cast<std::uint16_t>(load(bytes.subspan(4, 2))),
          .type = static_cast<std::uint16_t>(load(bytes.subspan(6, 2))),
          .cookie = load(bytes.subspan(8, 8)),
          .offset = load(bytes.subspan(16, 8)),
          .length = static_cast<std::uint32_t>(load(bytes.subspan(24, 4)))};
}

}  // namespace remus::disk::nbd
