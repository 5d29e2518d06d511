#include "guard/api.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <chrono>

namespace remus::guard {
namespace {

using nlohmann::json;

constexpr std::array phases{std::pair{Phase::starting, std::string_view{"starting"}},
                            std::pair{Phase::described, std::string_view{"described"}},
                            std::pair{Phase::refused, std::string_view{"refused"}},
                            std::pair{Phase::running, std::string_view{"running"}},
                            std::pair{Phase::ended, std::string_view{"ended"}}};

constexpr std::array kinds{Errc::invalid,     Errc::not_found,    Errc::exists,      Errc::refused,
                           Errc::unsupported, Errc::incompatible, Errc::unreachable, Errc::denied,
                           Errc::exhausted,   Errc::corrupt,      Errc::io,          Errc::timeout,
                           Errc::closed,      Errc::internal};

/// Takes a value if it is of the right type: an answer of another version must not stop us.
template <typename T>
bool take_value(const json& value, T& out) {
  bool fits = false;
  if constexpr (std::is_same_v<T, bool>)
    fits = value.is_boolean();
  else if constexpr (std::is_unsigned_v<T>)
    fits = value.is_number_unsigned();
  else if constexpr (std::is_floating_point_v<T>)
    fits = value.is_number();
  else
    fits = value.is_string();
  if (fits) out = value.get<T>();
  return fits;
}

template <typename T>
void take(const json& object, std::string_view key, T& out) {
  if (const auto found = object.find(key); found != object.end()) take_value(*found, out);
}

template <typename T>
void take(const json& object, std::string_view key, std::optional<T>& out) {
  T value{};
  if (const auto found = object.find(key); found != object.end() && take_value(*found, value)) out = value;
}

const json& part(const json& object, std::string_view key) {
  static const json none = json::object();
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : none;
}

Side side_of(const json& object) {
  return object.value("side", json{}) == "backup" ? Side::backup : Side::primary;
}

template <typename T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json{};  // with braces it would be a list of one
}

json error_body(const Error& e) {
  json out{{"kind", to_string(e.kind)}, {"what", e.what}};
  if (!e.fix.empty()) out["fix"] = e.fix;
  return out;
}

json disk_json(const GuardStatus::Disk& d) {
  return {{"name", d.name},
          {"mode", to_string(d.mode)},
          {"state", d.state},
          {"bytes", or_null(d.bytes)},
          {"compared_bytes", or_null(d.compared_bytes)},
          {"copied_bytes", or_null(d.copied_bytes)},
          {"total_bytes", or_null(d.total_bytes)},
          {"log_bytes", or_null(d.log_bytes)},
          {"writes", or_null(d.writes)},
          {"written_bytes", or_null(d.written_bytes)},
          {"resync_bytes", or_null(d.resync_bytes)}};
}

GuardStatus::Disk disk_from_json(const json& value) {
  GuardStatus::Disk d;
  take(value, "name", d.name);
  std::string mode;
  take(value, "mode", mode);
  d.mode = disk_mode_named(mode).value_or(d.mode);
  take(value, "state", d.state);
  take(value, "bytes", d.bytes);
  take(value, "compared_bytes", d.compared_bytes);
  take(value, "copied_bytes", d.copied_bytes);
  take(value, "total_bytes", d.total_bytes);
  take(value, "log_bytes", d.log_bytes);
  take(value, "writes", d.writes);
  take(value, "written_bytes", d.written_bytes);
  take(value, "resync_bytes", d.resync_bytes);
  return d;
}

/// The objects of a list; what is none is passed over.
template <typename Read>
void take_list(const json& object, std::string_view key, Read read) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return;
  for (const auto& item : *found)
    if (item.is_object()) read(item);
}

}  // namespace

std::string_view to_string(Phase phase) noexcept {
  for (const auto& [value, name] : phases)
    if (value == phase) return name;
  return "unknown";
}

json to_json(const GuardStatus& s) {
  json out{
      {"guest", s.guest},
      {"side", to_string(s.side)},
      {"peer", s.peer},
      {"phase", to_string(s.phase)},
      {"state", s.state},
      {"reason", s.reason},
      {"last_error", s.last_error ? error_body(*s.last_error) : json{}},
      {"generation", s.generation},
      {"session", s.session},
      {"alone", or_null(s.alone)},
      {"epoch",
       {{"captured", or_null(s.epoch.captured)},
        {"committed", or_null(s.epoch.committed)},
        {"applied", or_null(s.epoch.applied)},
        {"age_of_last_commit_ms", or_null(s.epoch.age_of_last_commit_ms)},
        {"checkpoints_total", s.epoch.checkpoints_total},
        {"checkpoints_per_s", s.epoch.checkpoints_per_s}}},
      {"pause",
       {{"p50_us", or_null(s.pause.p50_us)},
        {"p99_us", or_null(s.pause.p99_us)},
        {"last_us", or_null(s.pause.last_us)},
        {"max_us", or_null(s.pause.max_us)},
        {"overhead", or_null(s.pause.overhead)}}},
      {"traffic",
       {{"dirty_pages_last", or_null(s.traffic.dirty_pages_last)},
        {"dirty_pages_avg", or_null(s.traffic.dirty_pages_avg)},
        {"raw_bytes", or_null(s.traffic.raw_bytes)},
        {"wire_bytes", or_null(s.traffic.wire_bytes)},
        {"ratio", or_null(s.traffic.ratio())}}},
      {"output",
       {{"held_packets", or_null(s.output.held_packets)},
        {"held_bytes", or_null(s.output.held_bytes)},
        {"released_packets", or_null(s.output.released_packets)},
        {"released_bytes", or_null(s.output.released_bytes)},
        {"dropped_packets", or_null(s.output.dropped_packets)}}},
      {"sync", nullptr},
      {"verification", nullptr},
      {"disks", json::array()},
      {"link",
       {{"state", s.link.state},
        {"address", s.link.address},
        {"rtt_us", or_null(s.link.rtt_us)},
        {"since_ms", s.link.since_ms}}},
      {"arbiter", {{"kind", to_string(s.arbiter)}, {"warning", warning_of(s.arbiter)}}},
      {"pid", s.pid},
      {"keeper_pid", or_null(s.keeper_pid)},
      {"guest_pid", or_null(s.guest_pid)},
      {"handle", s.handle},
      {"uptime_ms", s.uptime_ms},
      {"memory_overhead_bytes", s.memory_overhead_bytes},
      {"failover", nullptr},
      {"last_event", s.last_event},
      {"options", to_json(s.options)},
  };
  if (s.sync)
    out["sync"] = {{"done_bytes", s.sync->done_bytes},
                   {"total_bytes", s.sync->total_bytes},
                   {"eta_s", or_null(s.sync->eta_s)}};
  if (s.verification)
    out["verification"] = {{"done_bytes", s.verification->done_bytes},
                           {"total_bytes", s.verification->total_bytes}};
  for (const auto& disk : s.disks) out["disks"].push_back(disk_json(disk));
  if (s.failover)
    out["failover"] = {{"detected_ms", s.failover->detected_ms},
                       {"activation_ms", s.failover->activation_ms},
                       {"epoch", s.failover->epoch},
                       {"time", s.failover->time}};
  return out;
}

Result<GuardStatus> status_from_json(const json& value) {
  if (!value.is_object() || !value.contains("guest") || !value.contains("phase"))
    return fail(Errc::corrupt, "the answer is not a guard's status");
  GuardStatus s;
  take(value, "guest", s.guest);
  s.side = side_of(value);
  take(value, "peer", s.peer);
  std::string phase;
  take(value, "phase", phase);
  for (const auto& [kind, name] : phases)
    if (name == phase) s.phase = kind;
  take(value, "state", s.state);
  take(value, "reason", s.reason);
  if (const auto& error = part(value, "last_error"); !error.empty())
    s.last_error = error_from_json({{"error", error}});
  take(value, "generation", s.generation);
  take(value, "session", s.session);
  take(value, "alone", s.alone);

  const auto& epoch = part(value, "epoch");
  take(epoch, "captured", s.epoch.captured);
  take(epoch, "committed", s.epoch.committed);
  take(epoch, "applied", s.epoch.applied);
  take(epoch, "age_of_last_commit_ms", s.epoch.age_of_last_commit_ms);
  take(epoch, "checkpoints_total", s.epoch.checkpoints_total);
  take(epoch, "checkpoints_per_s", s.epoch.checkpoints_per_s);
  const auto& pause = part(value, "pause");
  take(pause, "p50_us", s.pause.p50_us);
  take(pause, "p99_us", s.pause.p99_us);
  take(pause, "last_us", s.pause.last_us);
  take(pause, "max_us", s.pause.max_us);
  take(pause, "overhead", s.pause.overhead);
  const auto& traffic = part(value, "traffic");
  take(traffic, "dirty_pages_last", s.traffic.dirty_pages_last);
  take(traffic, "dirty_pages_avg", s.traffic.dirty_pages_avg);
  take(traffic, "raw_bytes", s.traffic.raw_bytes);
  take(traffic, "wire_bytes", s.traffic.wire_bytes);
  const auto& output = part(value, "output");
  take(output, "held_packets", s.output.held_packets);
  take(output, "held_bytes", s.output.held_bytes);
  take(output, "released_packets", s.output.released_packets);
  take(output, "released_bytes", s.output.released_bytes);
  take(output, "dropped_packets", s.output.dropped_packets);
  if (const auto& sync = part(value, "sync"); !sync.empty()) {
    s.sync = GuardStatus::Sync{};
    take(sync, "done_bytes", s.sync->done_bytes);
    take(sync, "total_bytes", s.sync->total_bytes);
    take(sync, "eta_s", s.sync->eta_s);
  }
  if (const auto& verification = part(value, "verification"); !verification.empty()) {
    s.verification = GuardStatus::Verification{};
    take(verification, "done_bytes", s.verification->done_bytes);
    take(verification, "total_bytes", s.verification->total_bytes);
  }
  take_list(value, "disks", [&](const json& disk) { s.disks.push_back(disk_from_json(disk)); });
  const auto& link = part(value, "link");
  take(link, "state", s.link.state);
  take(link, "address", s.link.address);
  take(link, "rtt_us", s.link.rtt_us);
  take(link, "since_ms", s.link.since_ms);
  if (part(value, "arbiter").value("kind", json{}) == "manual") s.arbiter = ArbiterKind::manual;
  take(value, "pid", s.pid);
  take(value, "keeper_pid", s.keeper_pid);
  take(value, "guest_pid", s.guest_pid);
  if (const auto handle = value.find("handle"); handle != value.end()) s.handle = *handle;
  take(value, "uptime_ms", s.uptime_ms);
  take(value, "memory_overhead_bytes", s.memory_overhead_bytes);
  if (const auto& failover = part(value, "failover"); !failover.empty()) {
    s.failover = GuardStatus::Failover{};
    take(failover, "detected_ms", s.failover->detected_ms);
    take(failover, "activation_ms", s.failover->activation_ms);
    take(failover, "epoch", s.failover->epoch);
    take(failover, "time", s.failover->time);
  }
  take(value, "last_event", s.last_event);
  if (auto options = options_from_json(part(value, "options"))) s.options = std::move(*options);
  return s;
}

json to_json(const GuardEvent& e) {
  return {{"sequence", e.sequence}, {"time", e.time}, {"guest", e.guest}, {"side", to_string(e.side)},
          {"kind", e.kind},         {"text", e.text}, {"data", e.data}};
}

Result<GuardEvent> event_from_json(const json& value) {
  if (!value.is_object() || !value.contains("kind")) return fail(Errc::corrupt, "the line is not an event");
  GuardEvent e;
  take(value, "sequence", e.sequence);
  take(value, "time", e.time);
  take(value, "guest", e.guest);
  e.side = side_of(value);
  take(value, "kind", e.kind);
  take(value, "text", e.text);
  if (const auto data = value.find("data"); data != value.end()) e.data = *data;
  return e;
}

json to_json(const VerifyReport& r) {
  auto pages = json::array();
  for (const auto& page : r.different) pages.push_back({{"block", page.block}, {"index", page.index}});
  auto blocks = json::array();
  for (const auto& block : r.different_blocks)
    blocks.push_back({{"disk", block.disk}, {"offset", block.offset}});
  return {{"first_epoch", r.first_epoch},
          {"epoch", r.epoch},
          {"pages_compared", r.pages_compared},
          {"pages_different", r.pages_different},
          {"different", std::move(pages)},
          {"duration_ms", r.duration_ms},
          {"blocks_compared", or_null(r.blocks_compared)},
          {"blocks_different", or_null(r.blocks_different)},
          {"bytes_left_out", or_null(r.bytes_left_out)},
          {"different_blocks", std::move(blocks)}};
}

Result<VerifyReport> verify_report_from_json(const json& value) {
  if (!value.is_object() || !value.contains("pages_compared"))
    return fail(Errc::corrupt, "the answer is not a verification report");
  VerifyReport r;
  take(value, "epoch", r.epoch);
  r.first_epoch = r.epoch;  // as guards say it that compare all at once
  take(value, "first_epoch", r.first_epoch);
  take(value, "pages_compared", r.pages_compared);
  take(value, "pages_different", r.pages_different);
  take(value, "duration_ms", r.duration_ms);
  take_list(value, "different", [&](const json& page) {
    auto& read = r.different.emplace_back();
    take(page, "block", read.block);
    take(page, "index", read.index);
  });
  take(value, "blocks_compared", r.blocks_compared);
  take(value, "blocks_different", r.blocks_different);
  take(value, "bytes_left_out", r.bytes_left_out);
  take_list(value, "different_blocks", [&](const json& block) {
    auto& read = r.different_blocks.emplace_back();
    take(block, "disk", read.disk);
    take(block, "offset", read.offset);
  });
  return r;
}

json to_json(const engine::HostReport& r) {
  return {{"guest_running", r.guest_running},
          {"guard_running", r.guard_running},
          {"generation", r.generation},
          {"alone", r.alone}};
}

Result<engine::HostReport> report_from_json(const json& value) {
  if (!value.is_object() || !value.contains("guest_running") || !value.contains("generation"))
    return fail(Errc::corrupt, "the answer is not a host report");
  engine::HostReport r;
  take(value, "guest_running", r.guest_running);
  take(value, "guard_running", r.guard_running);
  take(value, "generation", r.generation);
  take(value, "alone", r.alone);
  return r;
}

json to_json(const Error& error) {
  return {{"error", error_body(error)}};
}

Error error_from_json(const json& value) {
  const auto& body = value.is_object() ? part(value, "error") : json::object();
  Error out{Errc::internal, {}, {}};
  std::string kind;
  take(body, "kind", kind);
  for (const Errc candidate : kinds)
    if (to_string(candidate) == kind) out.kind = candidate;
  take(body, "what", out.what);
  take(body, "fix", out.fix);
  if (out.what.empty()) out.what = fmt::format("unexpected answer: {}", value.dump().substr(0, 200));
  return out;
}

std::string utc_now() {
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto whole = std::chrono::floor<std::chrono::seconds>(now);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(whole)),
                     (now - whole).count());
}

}  // namespace remus::guard
