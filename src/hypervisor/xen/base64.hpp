// Bytes within JSON (RFC 4648, with padding).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace remus::hypervisor::xen {

[[nodiscard]] std::string encode_base64(std::span<const std::byte> bytes);
/// Errors: corrupt.
Result<std::vector<std::byte>> decode_base64(std::string_view text);

}  // namespace remus::hypervisor::xen
