// Numbers as bytes: little-endian, of fixed width, whatever the host's word size.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace remus::checkpoint::wire {

static_assert(std::endian::native == std::endian::little, "byte order conversion is not written yet");

template <typename T>
inline void store(std::byte* to, T value) noexcept {
  std::memcpy(to, &value, sizeof(value));
}

template <typename T>
[[nodiscard]] inline T load(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

inline constexpr std::size_t varint_bytes_max = 10;

/// LEB128: seven bits a byte, lowest first. Returns the end of what was written.
inline std::byte* put_varint(std::byte* to, std::uint64_t value) noexcept {
  while (value >= 0x80) {
    *to++ = static_cast<std::byte>(value | 0x80);
    value >>= 7;
  }
  *to++ = static_cast<std::byte>(value);
  return to;
}

/// Returns the end of the varint, or null if it runs past `end` or does not fit 64 bits.
[[nodiscard]] inline const std::byte* get_varint(const std::byte* from, const std::byte* end,
                                                 std::uint64_t& value) noexcept {
  value = 0;
  for (unsigned shift = 0; from != end && shift < 64; shift += 7) {
    const auto byte = std::to_integer<std::uint64_t>(*from++);
    if (shift == 63 && byte > 1) return nullptr;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return from;
  }
  return nullptr;
}

/// Signed numbers near zero become small unsigned ones: 0, -1, 1, -2 → 0, 1, 2, 3.
[[nodiscard]] constexpr std::uint64_t zigzag(std::int64_t value) noexcept {
  return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}
[[nodiscard]] constexpr std::int64_t unzigzag(std::uint64_t value) noexcept {
  return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
}

}  // namespace remus::checkpoint::wire
