#include "base/units.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

namespace remus {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array duration_units{Unit{"ns", 1},     Unit{"us", 1e3}, Unit{"ms", 1e6},  Unit{"s", 1e9},
                                    Unit{"min", 60e9}, Unit{"m", 60e9}, Unit{"h", 3600e9}};
constexpr double kib = 1024;
constexpr std::array size_units{
    Unit{"B", 1},
    Unit{"KiB", kib},
    Unit{"MiB", kib* kib},
    Unit{"GiB", kib* kib* kib},
    Unit{"TiB", kib* kib* kib* kib},
    Unit{"K", kib},
    Unit{"M", kib* kib},
    Unit{"G", kib* kib* kib},
    Unit{"T", kib* kib* kib* kib},
    Unit{"kB", 1e3},
    Unit{"MB", 1e6},
    Unit{"GB", 1e9},
    Unit{"TB", 1e12},
};
constexpr std::array bit_units{Unit{"bit", 1.0 / 8}, Unit{"kbit", 1e3 / 8}, Unit{"Mbit", 1e6 / 8},
                               Unit{"Gbit", 1e9 / 8}};

// Above this a double no longer holds every integer; no duration or size in use comes near.
constexpr double exact_limit = 9007199254740992.0;

/// What the text says, in the units' base; nothing if it is not "<number><unit>" or leaves the exact range.
std::optional<std::uint64_t> read(std::string_view text, std::span<const Unit> units) {
  double number{};
  const auto [end, code] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (code != std::errc{} || !(number >= 0)) return std::nullopt;
  std::string_view rest = text.substr(static_cast<std::size_t>(end - text.data()));
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  for (const Unit& unit : units) {
    if (rest != unit.name) continue;
    const double value = std::round(number * unit.factor);
    if (!(value <= exact_limit)) return std::nullopt;
    return static_cast<std::uint64_t>(value);
  }
  if (rest.empty() && number == 0) return 0;
  return std::nullopt;
}

}  // namespace

Result<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  if (const auto value = read(text, duration_units))
    return std::chrono::nanoseconds{static_cast<std::int64_t>(*value)};
  return fail(Errc::invalid, fmt::format("'{}' is not a duration", text), "write it like 50ms, 1.5s or 2m");
}

Result<std::uint64_t> parse_size(std::string_view text) {
  if (const auto value = read(text, size_units)) return *value;
  return fail(Errc::invalid, fmt::format("'{}' is not a size", text), "write it like 512KiB, 64MiB or 2GiB");
}

Result<std::uint64_t> parse_rate(std::string_view text) {
  if (text == "unlimited") return 0;
  std::optional<std::uint64_t> value;
  if (text.ends_with("/s")) {
    const auto amount = text.substr(0, text.size() - 2);
    value = read(amount, size_units);
    if (!value) value = read(amount, bit_units);
  }
  if (!value)
    return fail(Errc::invalid, fmt::format("'{}' is not a rate", text),
                "write it like 100MiB/s, 1Gbit/s or unlimited");
  if (*value == 0)
    return fail(Errc::invalid, fmt::format("a rate of '{}' would send nothing", text),
                "use unlimited for no limit");
  return *value;
}

std::string format_duration(std::chrono::nanoseconds value) {
  const std::int64_t ns = value.count();
  if (ns == 0) return "0s";
  if (ns % 1'000'000'000 == 0) return fmt::format("{}s", ns / 1'000'000'000);
  if (ns % 1'000'000 == 0) return fmt::format("{}ms", ns / 1'000'000);
  if (ns % 1'000 == 0) return fmt::format("{}us", ns / 1'000);
  return fmt::format("{}ns", ns);
}

std::string format_size(std::uint64_t bytes) {
  if (bytes != 0) {
    constexpr std::array<std::pair<const char*, unsigned>, 4> steps{
        {{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}};
    for (const auto& [name, shift] : steps)
      if ((bytes & ((std::uint64_t{1} << shift) - 1)) == 0) return fmt::format("{}{}", bytes >> shift, name);
  }
  return fmt::format("{}B", bytes);
}

std::string format_rate(std::uint64_t bytes_per_s) {
  return bytes_per_s == 0 ? "unlimited" : format_size(bytes_per_s) + "/s";
}

}  // namespace remus
