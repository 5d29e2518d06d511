// The device state as it travels to the backup: QEMU's own device sections, whole, with what the waiting QEMU
// needs besides them in a trailer. A trailer, because the sections are received in place and nothing must
// move.
//
//   | FULL sections ... 00 | configuration section | be32 id, instance, version of "ram"
//                                                  | be32 bytes of configuration | "RMQ1" |
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.hpp"

namespace remus::hypervisor::qemu {

/// What QEMU said once, at the beginning of its stream, and every activation must repeat.
struct StreamPreamble {
  std::vector<std::byte> configuration{};  ///< section 07 with its subsections, as received
  std::uint32_t ram_section_id{};
  std::uint32_t ram_instance{};
  std::uint32_t ram_version{};
};

inline constexpr std::size_t blob_trailer_fixed_bytes = 3 * 4 + 4 + 4;
inline constexpr std::size_t configuration_bytes_max = 64UL << 10;

[[nodiscard]] std::size_t trailer_bytes(const StreamPreamble& preamble) noexcept;
/// Writes trailer_bytes(preamble) bytes.
void write_trailer(std::byte* out, const StreamPreamble& preamble) noexcept;

struct DeviceBlob {
  std::span<const std::byte> sections{};  ///< ends with 00
  std::span<const std::byte> configuration{};
  std::uint32_t ram_section_id{};
  std::uint32_t ram_instance{};
  std::uint32_t ram_version{};
};
/// Errors: corrupt.
[[nodiscard]] Result<DeviceBlob> parse_blob(std::span<const std::byte> blob);

}  // namespace remus::hypervisor::qemu
