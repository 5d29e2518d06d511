// The difference between two versions of a page.
//
// Guests change a few words of a page far more often than all of it. A delta says which bytes changed in
// three levels of masks, so that unchanged parts cost nothing but the level above:
//
//   u64 lines               bit i: something in the i-th 64-byte line changed
//   per changed line:       u8 words   bit j: something in its j-th 8-byte word changed
//     per changed word:     u8 bytes   bit k: its k-th byte changed
//       per changed byte:   u8         old XOR new
//
// One changed byte costs 11 bytes, an unchanged page 8. No mask but the first, and no XOR byte, may be zero:
// a page difference has exactly one encoding.
#pragma once

#include <span>

#include "base/error.hpp"
#include "checkpoint/layout.hpp"

namespace remus::checkpoint {

inline constexpr std::size_t delta_bytes_min = 8;  ///< of an unchanged page
inline constexpr std::size_t delta_bytes_max = 8 + 64 + 512 + page_bytes;
/// encode_delta() may write this far past the limit it is given.
inline constexpr std::size_t delta_overrun_bytes = 1 + 8 * 9 + 8;

/// Writes the delta from `reference` to `page` (page_bytes each) to `out`. Returns its size, or 0 when it
/// would be larger than `limit` (it stops early then). Precondition: `out` holds at least limit +
/// delta_overrun_bytes.
[[nodiscard]] std::size_t encode_delta(const std::byte* reference, const std::byte* page,
                                       std::span<std::byte> out, std::size_t limit) noexcept;

/// True if `delta` is exactly one well-formed delta.
[[nodiscard]] bool valid_delta(std::span<const std::byte> delta) noexcept;

/// Turns `page` (page_bytes, holding the reference) into the new version. Errors: corrupt, with `page`
/// unchanged.
[[nodiscard]] Status apply_delta(std::span<const std::byte> delta, std::byte* page);

}  // namespace remus::checkpoint
