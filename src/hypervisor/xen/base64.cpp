#include "hypervisor/xen/base64.hpp"

#include <algorithm>
#include <cstdint>

namespace remus::hypervisor::xen {

namespace {

constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string encode_base64(std::span<const std::byte> bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const auto here = bytes.subspan(at, std::min<std::size_t>(3, bytes.size() - at));
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i)
      group = group << 8U | (i < here.size() ? std::to_integer<std::uint32_t>(here[i]) : 0U);
    for (std::size_t i = 0; i < 4; ++i)
      out.push_back(i <= here.size() ? digits[group >> (18U - 6U * i) & 0x3fU] : '=');
  }
  return out;
}

Result<std::vector<std::byte>> decode_base64(std::string_view text) {
  const auto bad = [] { return fail(Errc::corrupt, "text that should be base64 is not"); };
  if (text.size() % 4 != 0) return bad();
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) {
    text.remove_suffix(1);
    ++padding;
  }
  std::vector<std::byte> out;
  out.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t group = 0;
  unsigned bits = 0;
  for (const char c : text) {
    const auto digit = digits.find(c);
    if (digit == std::string_view::npos) return bad();
    group = group << 6U | static_cast<std::uint32_t>(digit);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out.push_back(static_cast<std::byte>(group >> bits & 0xffU));
    }
  }
  if ((group & ((1U << bits) - 1U)) != 0) return bad();  // what is cut off must be zero
  return out;
}

}  // namespace remus::hypervisor::xen
