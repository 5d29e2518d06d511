#include "hypervisor/qemu/device_blob.hpp"

#include <array>
#include <cstring>

namespace remus::hypervisor::qemu {

namespace {

constexpr std::array<char, 4> magic{'R', 'M', 'Q', '1'};

void append_be32(std::byte*& out, std::uint32_t value) noexcept {
  for (int shift = 24; shift >= 0; shift -= 8)
    *out++ = static_cast<std::byte>(value >> static_cast<unsigned>(shift));
}

std::uint32_t get_be32(const std::byte*& in) noexcept {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8U | std::to_integer<std::uint32_t>(*in++);
  return value;
}

}  // namespace

std::size_t trailer_bytes(const StreamPreamble& preamble) noexcept {
  return preamble.configuration.size() + blob_trailer_fixed_bytes;
}

void write_trailer(std::byte* out, const StreamPreamble& preamble) noexcept {
  if (!preamble.configuration.empty())
    std::memcpy(out, preamble.configuration.data(), preamble.configuration.size());
  out += preamble.configuration.size();
  append_be32(out, preamble.ram_section_id);
  append_be32(out, preamble.ram_instance);
  append_be32(out, preamble.ram_version);
  append_be32(out, static_cast<std::uint32_t>(preamble.configuration.size()));
  std::memcpy(out, magic.data(), magic.size());
}

Result<DeviceBlob> parse_blob(std::span<const std::byte> blob) {
  if (blob.size() < blob_trailer_fixed_bytes ||
      std::memcmp(blob.data() + blob.size() - magic.size(), magic.data(), magic.size()) != 0)
    return fail(Errc::corrupt, "the device state is not one of a QEMU guest (no trailer)");
  const std::byte* in = blob.data() + blob.size() - blob_trailer_fixed_bytes;
  DeviceBlob out;
  out.ram_section_id = get_be32(in);
  out.ram_instance = get_be32(in);
  out.ram_version = get_be32(in);
  const std::size_t configuration = get_be32(in);
  if (configuration > configuration_bytes_max || configuration > blob.size() - blob_trailer_fixed_bytes)
    return fail(Errc::corrupt, "the device state's trailer is longer than the device state");
  const std::size_t sections = blob.size() - blob_trailer_fixed_bytes - configuration;
  out.sections = blob.first(sections);
  out.configuration = blob.subspan(sections, configuration);
  if (sections == 0 || out.sections.back() != std::byte{0})
    return fail(Errc::corrupt, "the device state is incomplete: its sections do not end");
  return out;
}

}  // namespace remus::hypervisor::qemu
