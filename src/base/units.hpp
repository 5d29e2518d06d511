// Durations, sizes and rates as people write them: "50ms", "1.5s", "64MiB", "100MiB/s", "1Gbit/s".
//
// A number without a unit is refused rather than guessed: "50" may be meant as seconds or as milliseconds,
// and a guest would be protected with the wrong one.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace remus {

/// Units: ns, us, ms, s, m (or min), h. Fractions are allowed; the result is exact to a nanosecond, never
/// negative.
[[nodiscard]] Result<std::chrono::nanoseconds> parse_duration(std::string_view text);

/// Units: B, KiB, MiB, GiB, TiB (K, M, G, T mean the same), kB, MB, GB, TB (powers of ten).
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view text);

/// A size with "/s", or kbit/s, Mbit/s, Gbit/s. "unlimited" is 0. In bytes per second.
[[nodiscard]] Result<std::uint64_t> parse_rate(std::string_view text);

/// Exact and readable back: parse_x(format_x(v)) == v. "50ms", "1500us", "64MiB", "unlimited".
[[nodiscard]] std::string format_duration(std::chrono::nanoseconds value);
[[nodiscard]] std::string format_size(std::uint64_t bytes);
[[nodiscard]] std::string format_rate(std::uint64_t bytes_per_s);

}  // namespace remus
