// What an administrator may choose for one protected guest.
//
// The same names and forms everywhere: [defaults] in remus.toml, `options` of the admin API, `remus protect
// --...`, and the guard's spec. Durations, sizes and rates are strings with units ("50ms", "64MiB",
// "100MiB/s").
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "engine/types.hpp"
#include "guard/disk_options.hpp"
#include "guard/strict_json.hpp"

namespace remus::guard {

enum class ArbiterKind { fail_stop, manual };
enum class Compression { automatic, none, lz4, zstd };

struct GuestOptions {
  engine::Config engine{};
  std::uint64_t bandwidth_bytes_per_s{};  ///< limit of the link; 0: none
  std::uint64_t copy_rate_bytes_per_s{};  ///< of reading disks for their copy on the backup; 0: no limit
  Compression compression{Compression::automatic};
  std::uint64_t delta_cache_bytes{64ULL << 20};    ///< page contents kept on the primary to delta against
  std::uint64_t output_buffer_bytes{64ULL << 20};  ///< held packets; tail drop beyond
  ArbiterKind arbiter{ArbiterKind::fail_stop};
  std::map<std::string, std::string> bridges{};  ///< primary's bridge → the backup's, where they differ
  std::vector<DiskOption> disks{};               ///< every disk the guest can write
};

[[nodiscard]] std::string_view to_string(ArbiterKind kind) noexcept;  ///< "fail-stop", "manual"
[[nodiscard]] std::string_view to_string(Compression kind) noexcept;  ///< "auto", "none", "lz4", "zstd"

/// What the administrator must know about this arbiter, in a sentence without its name; empty if there is nothing to
/// warn of.
[[nodiscard]] std::string_view warning_of(ArbiterKind kind) noexcept;

/// It never lets two hosts run the guest at once.
[[nodiscard]] bool excludes_two_copies(ArbiterKind kind) noexcept;

[[nodiscard]] nlohmann::json to_json(const GuestOptions& options);
/// Strict: unknown keys, wrong types and values out of range are errors. Keys that are absent keep
/// `defaults`.
[[nodiscard]] Result<GuestOptions> options_from_json(const nlohmann::json& value,
                                                     const GuestOptions& defaults = {},
                                                     const Where& where = {"options"});
/// What may change while a guest is protected: pacing, pipeline, detection, rates. refused, naming the first other option
/// in which the two differ.
[[nodiscard]] Status changeable(const GuestOptions& from, const GuestOptions& to);

/// Ranges and relations between values (e.g. alone_after > detect_max, or disks that an arbiter endangers).
[[nodiscard]] Status validate(const GuestOptions& options, const Where& where = {"options"});

}  // namespace remus::guard
