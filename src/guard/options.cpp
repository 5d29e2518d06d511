#include "guard/options.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/units.hpp"

namespace remus::guard {
namespace {

constexpr std::array arbiter_names{std::pair{ArbiterKind::fail_stop, std::string_view{"fail-stop"}},
                                   std::pair{ArbiterKind::manual, std::string_view{"manual"}}};
constexpr std::array compression_names{std::pair{Compression::automatic, std::string_view{"auto"}},
                                       std::pair{Compression::none, std::string_view{"none"}},
                                       std::pair{Compression::lz4, std::string_view{"lz4"}},
                                       std::pair{Compression::zstd, std::string_view{"zstd"}}};

template <typename Table, typename T>
std::string_view name_of(const Table& table, T value) noexcept {
  for (const auto& [kind, name] : table)
    if (kind == value) return name;
  return "unknown";
}

template <typename Table, typename T>
auto named(const Table& table, T& out) {
  return [&table, &out](const nlohmann::json& value, const Where& where) -> Status {
    std::string known;
    for (const auto& [kind, name] : table) {
      if (value.is_string() && value.template get_ref<const std::string&>() == name) {
        out = kind;
        return {};
      }
      known += known.empty() ? "" : ", ";
      known += name;
    }
    return where.fail(fmt::format("expected one of {}; found {}", known, value.dump()));
  };
}

template <typename T>
Status in_range(const Where& where, std::string_view key, T value, T low, T high, std::string (*format)(T)) {
  if (value >= low && value <= high) return {};
  return where.at(key).fail(fmt::format("{} is out of range", format(value)),
                            fmt::format("allowed: {} to {}", format(low), format(high)));
}

Status validate_disks_of(const GuestOptions& o, const Where& where) {
  if (auto status = validate_disks(o.disks, where); !status) return status;
  if (excludes_two_copies(o.arbiter)) return {};
  for (const auto& disk : o.disks)
    if (needs_one_writer(disk.mode))
      return where.fail(
          fmt::format("disk '{}' is {}: with arbiter {} both hosts may run the guest if every path between "
                      "them is cut, and two copies that write to it at once destroy it",
                      disk.name, to_string(disk.mode), to_string(o.arbiter)),
          "use --arbiter manual, or replicate the disk");
  return {};
}

}  // namespace

std::string_view to_string(ArbiterKind kind) noexcept {
  return name_of(arbiter_names, kind);
}
std::string_view to_string(Compression kind) noexcept {
  return name_of(compression_names, kind);
}

std::string_view warning_of(ArbiterKind kind) noexcept {
  switch (kind) {
    case ArbiterKind::fail_stop:
      return "if every path between the hosts is cut while both live, both may run the guest; give the peer "
             "a "
             "second address, or use --arbiter manual";
    case ArbiterKind::manual: return "";
  }
  return "";
}

bool excludes_two_copies(ArbiterKind kind) noexcept {
  return kind == ArbiterKind::manual;
}

nlohmann::json to_json(const GuestOptions& o) {
  const auto& e = o.engine;
  return {{"interval", format_duration(e.interval)},
          {"max_latency", format_duration(e.max_latency)},
          {"min_interval", format_duration(e.min_interval)},
          {"max_overhead", e.max_overhead},
          {"max_epochs_in_flight", e.max_epochs_in_flight},
          {"max_bytes_in_flight", format_size(e.max_bytes_in_flight)},
          {"heartbeat", format_duration(e.heartbeat)},
          {"detect_min", format_duration(e.detect_min)},
          {"detect_max", format_duration(e.detect_max)},
          {"alone_after", format_duration(e.alone_after)},
          {"bandwidth", format_rate(o.bandwidth_bytes_per_s)},
          {"copy_rate", format_rate(o.copy_rate_bytes_per_s)},
          {"compression", to_string(o.compression)},
          {"delta_cache", format_size(o.delta_cache_bytes)},
          {"output_buffer", format_size(o.output_buffer_bytes)},
          {"arbiter", to_string(o.arbiter)},
          {"bridges", o.bridges},
          {"disks", to_json(o.disks)}};
}

Result<GuestOptions> options_from_json(const nlohmann::json& value, const GuestOptions& defaults,
                                       const Where& where) {
  GuestOptions o = defaults;
  StrictObject object{value, where};
  object.read("interval", o.engine.interval)
      .read("max_latency", o.engine.max_latency)
      .read("min_interval", o.engine.min_interval)
      .read("max_overhead", o.engine.max_overhead)
      .read("max_epochs_in_flight", o.engine.max_epochs_in_flight)
      .read_size("max_bytes_in_flight", o.engine.max_bytes_in_flight)
      .read("heartbeat", o.engine.heartbeat)
      .read("detect_min", o.engine.detect_min)
      .read("detect_max", o.engine.detect_max)
      .read("alone_after", o.engine.alone_after)
      .read_rate("bandwidth", o.bandwidth_bytes_per_s)
      .read_rate("copy_rate", o.copy_rate_bytes_per_s)
      .read_with("compression", named(compression_names, o.compression))
      .read_size("delta_cache", o.delta_cache_bytes)
      .read_size("output_buffer", o.output_buffer_bytes)
      .read_with("arbiter", named(arbiter_names, o.arbiter))
      .read("bridges", o.bridges)
      .read_with("disks", [&](const nlohmann::json& disks, const Where& at) {
        return read_disks(disks, at, o.disks);
      });
  if (auto status = object.finish(); !status) return std::unexpected(status.error());
  if (auto status = validate(o, where); !status) return std::unexpected(status.error());
  return o;
}

Status validate(const GuestOptions& o, const Where& where) {
  using std::chrono::milliseconds;
  using std::chrono::minutes;
  using std::chrono::seconds;
  using Duration = std::chrono::nanoseconds;
  const auto& e = o.engine;
  const auto duration = [&](std::string_view key, Duration value, Duration low, Duration high) {
    return in_range<Duration>(where, key, value, low, high, format_duration);
  };
  const auto size = [&](std::string_view key, std::uint64_t value, std::uint64_t low, std::uint64_t high) {
    return in_range<std::uint64_t>(where, key, value, low, high, format_size);
  };
  constexpr std::uint64_t mib = 1ULL << 20;
  for (const auto& status : {
           duration("interval", e.interval, milliseconds{2}, seconds{10}),
           duration("max_latency", e.max_latency, milliseconds{1}, seconds{10}),
           duration("min_interval", e.min_interval, Duration{0}, seconds{1}),
           duration("heartbeat", e.heartbeat, milliseconds{1}, seconds{5}),
           duration("detect_min", e.detect_min, milliseconds{10}, minutes{1}),
           duration("detect_max", e.detect_max, milliseconds{20}, minutes{5}),
           duration("alone_after", e.alone_after, milliseconds{50}, minutes{10}),
           size("max_bytes_in_flight", e.max_bytes_in_flight, 16UL * mib, 1024UL * 1024 * mib),
           size("delta_cache", o.delta_cache_bytes, 0, 1024UL * 1024 * mib),
           size("output_buffer", o.output_buffer_bytes, mib, 65536 * mib),
       })
    if (!status) return status;
  if (o.bandwidth_bytes_per_s != 0 && o.bandwidth_bytes_per_s < mib)
    return where.at("bandwidth").fail("less than 1MiB/s cannot carry a guest's checkpoints");
  if (o.copy_rate_bytes_per_s != 0 && o.copy_rate_bytes_per_s < mib)
    return where.at("copy_rate").fail("at less than 1MiB/s a disk's copy takes days");
  if (!(e.max_overhead > 0 && e.max_overhead <= 1))
    return where.at("max_overhead")
        .fail(fmt::format("{} is out of range", e.max_overhead), "a share: 0.01 to 1");
  if (e.max_epochs_in_flight < 1 || e.max_epochs_in_flight > 64)
    return where.at("max_epochs_in_flight")
        .fail(fmt::format("{} is out of range", e.max_epochs_in_flight), "1 to 64");
  if (e.min_interval > e.interval) return where.at("min_interval").fail("may not be longer than interval");
  if (e.heartbeat * 2 > e.detect_min)
    return where.at("detect_min")
        .fail("must be at least two heartbeats long, or every lost packet looks like a death");
  if (e.detect_min > e.detect_max) return where.at("detect_max").fail("may not be shorter than detect_min");
  if (e.alone_after <= e.detect_max)
    return where.at("alone_after")
        .fail(
            "must be longer than detect_max: the backup decides first, and the primary goes alone only "
            "after");
  for (const auto& [from, to] : o.bridges)
    if (from.empty() || to.empty() || from.size() > 15 || to.size() > 15)
      return where.at("bridges").fail(fmt::format("'{}' = '{}' is not a pair of interface names", from, to));
  return validate_disks_of(o, where.at("disks"));
}

Status changeable(const GuestOptions& from, const GuestOptions& to) {
  const auto fixed = [](std::string_view option) {
    return fail(Errc::refused, fmt::format("'{}' cannot be changed while the guest is protected", option),
                "unprotect the guest, and protect it with the new value");
  };
  if (from.compression != to.compression) return fixed("compression");
  if (from.delta_cache_bytes != to.delta_cache_bytes) return fixed("delta_cache");
  if (from.output_buffer_bytes != to.output_buffer_bytes) return fixed("output_buffer");
  if (from.arbiter != to.arbiter) return fixed("arbiter");
  if (from.bridges != to.bridges) return fixed("bridges");
  if (from.disks != to.disks) return fixed("disks");
  return {};
}

}  // namespace remus::guard
