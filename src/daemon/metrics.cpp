#include "daemon/metrics.hpp"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace remus::daemon {
namespace {

struct Metric {
  std::string_view name;
  std::string_view type;
  std::string_view help;
  std::string_view pointer;  ///< JSON pointer into a guest's view
  double scale{1};           ///< Prometheus wants seconds and bytes
};

constexpr double micro = 1e-6;
constexpr double milli = 1e-3;

constexpr std::array metrics{
    Metric{"remus_guest_protected", "gauge", "1 if the death of the host it runs on would lose nothing",
           "/protected"},
    Metric{"remus_guest_generation", "gauge", "Raised by every failover and every going alone",
           "/generation"},
    Metric{"remus_guard_running", "gauge", "1 if the guest's guard exists on this host", "/guard_running"},
    Metric{"remus_status_age_seconds", "gauge", "Age of the numbers below", "/status_age_ms", milli},
    Metric{"remus_epoch_committed", "gauge", "Newest epoch the backup holds", "/guard/epoch/committed"},
    Metric{"remus_last_commit_age_seconds", "gauge", "Since the last acknowledged checkpoint",
           "/guard/epoch/age_of_last_commit_ms", milli},
    Metric{"remus_checkpoints_total", "counter", "Checkpoints this guard has taken (backup: applied)",
           "/guard/epoch/checkpoints_total"},
    Metric{"remus_pause_p50_seconds", "gauge", "Median pause of the last checkpoints", "/guard/pause/p50_us",
           micro},
    Metric{"remus_pause_p99_seconds", "gauge", "99th percentile of the pauses", "/guard/pause/p99_us", micro},
    Metric{"remus_paused_ratio", "gauge", "Share of time the guest stands still", "/guard/pause/overhead"},
    Metric{"remus_dirty_pages", "gauge", "Pages dirtied in an epoch, mean", "/guard/traffic/dirty_pages_avg"},
    Metric{"remus_raw_bytes_total", "counter", "Dirty bytes before delta and compression",
           "/guard/traffic/raw_bytes"},
    Metric{"remus_wire_bytes_total", "counter", "Bytes that crossed the link for them",
           "/guard/traffic/wire_bytes"},
    Metric{"remus_output_held_packets", "gauge", "Packets waiting for their epoch's commit",
           "/guard/output/held_packets"},
    Metric{"remus_output_held_bytes", "gauge", "Bytes waiting for their epoch's commit",
           "/guard/output/held_bytes"},
    Metric{"remus_output_dropped_packets_total", "counter", "Packets dropped at the buffer's limit",
           "/guard/output/dropped_packets"},
    Metric{"remus_link_rtt_seconds", "gauge", "Round trip between the guards", "/guard/link/rtt_us", micro},
    Metric{"remus_memory_overhead_bytes", "gauge", "Memory protection takes on this host",
           "/guard/memory_overhead_bytes"},
};

/// Of each of a guest's disks; the pointer is into GuardStatus::Disk.
constexpr std::array disk_metrics{
    Metric{"remus_disk_bytes", "gauge", "Size of the disk", "/bytes"},
    Metric{"remus_disk_compared_bytes", "gauge", "Compared with the replica, while it is being copied",
           "/compared_bytes"},
    Metric{"remus_disk_copied_bytes", "gauge", "Of those, copied to the backup since they differed",
           "/copied_bytes"},
    Metric{"remus_disk_copy_total_bytes", "gauge", "To be compared, while it is being copied",
           "/total_bytes"},
    Metric{"remus_disk_log_bytes", "gauge", "Written and not yet held by the backup", "/log_bytes"},
    Metric{"remus_disk_writes_total", "counter", "Writes of the guest", "/writes"},
    Metric{"remus_disk_written_bytes_total", "counter", "Bytes the guest wrote", "/written_bytes"},
    Metric{"remus_disk_resync_bytes", "gauge", "To be compared if the backup were lost now and came back",
           "/resync_bytes"},
};

std::string label(const nlohmann::json& guest, const char* key) {
  std::string out;
  for (const char c : guest[key].get_ref<const std::string&>()) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

/// Calls use(guest, disk) for each disk that is there.
template <typename Use>
void each_disk(const nlohmann::json& guests, Use use) {
  static const nlohmann::json::json_pointer at{"/guard/disks"};
  for (const auto& guest : guests) {
    if (!guest.contains(at) || !guest.at(at).is_array()) continue;
    for (const auto& disk : guest.at(at)) use(guest, disk);
  }
}

void add_disks(std::string& out, const nlohmann::json& guests) {
  for (const auto& metric : disk_metrics) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", metric.name, metric.help, metric.name, metric.type);
    const nlohmann::json::json_pointer pointer{std::string{metric.pointer}};
    each_disk(guests, [&](const nlohmann::json& guest, const nlohmann::json& disk) {
      if (disk.contains(pointer) && disk.at(pointer).is_number())
        out += fmt::format("{}{{guest=\"{}\",role=\"{}\",peer=\"{}\",disk=\"{}\"}} {}\n", metric.name,
                           label(guest, "name"), label(guest, "role"), label(guest, "peer"),
                           label(disk, "name"), disk.at(pointer).get<double>());
    });
  }
  out += "# HELP remus_disk_state What is done with the disk, as a word\n# TYPE remus_disk_state gauge\n";
  each_disk(guests, [&](const nlohmann::json& guest, const nlohmann::json& disk) {
    out +=
        fmt::format("remus_disk_state{{guest=\"{}\",role=\"{}\",peer=\"{}\",disk=\"{}\",state=\"{}\"}} 1\n",
                    label(guest, "name"), label(guest, "role"), label(guest, "peer"), label(disk, "name"),
                    label(disk, "state"));
  });
}

}  // namespace

std::string metrics_text(const nlohmann::json& guests) {
  std::string out;
  for (const auto& metric : metrics) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", metric.name, metric.help, metric.name, metric.type);
    const nlohmann::json::json_pointer pointer{std::string{metric.pointer}};
    for (const auto& guest : guests) {
      if (!guest.contains(pointer)) continue;
      const auto& value = guest.at(pointer);
      if (!value.is_number() && !value.is_boolean()) continue;
      const double number = value.is_boolean() ? (value.get<bool>() ? 1 : 0) : value.get<double>();
      out += fmt::format("{}{{guest=\"{}\",role=\"{}\",peer=\"{}\"}} {}\n", metric.name, label(guest, "name"),
                         label(guest, "role"), label(guest, "peer"), number * metric.scale);
    }
  }
  out += "# HELP remus_guest_state The guest's state as a word\n# TYPE remus_guest_state gauge\n";
  for (const auto& guest : guests)
    out +=
        fmt::format("remus_guest_state{{guest=\"{}\",role=\"{}\",peer=\"{}\",state=\"{}\"}} 1\n",
                    label(guest, "name"), label(guest, "role"), label(guest, "peer"), label(guest, "state"));
  add_disks(out, guests);
  return out;
}

}  // namespace remus::daemon
