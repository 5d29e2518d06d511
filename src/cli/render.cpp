#include "cli/render.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "daemon/json_fields.hpp"

namespace remus::cli {
namespace {

using daemon::number_at;
using daemon::text_at;
using nlohmann::json;

constexpr std::uint64_t stale_ms = 250;  ///< numbers of this age are said to be old

const json& part(const json& object, const char* key) {
  static const json none = json::object();
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : none;
}

const json& list(const json& object, const char* key) {
  static const json none = json::array();
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : none;
}

double real_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0.0;
}

bool known(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number();
}

/// "-" for what is not known here.
std::string count_at(const json& object, const char* key) {
  return known(object, key) ? fmt::format("{}", number_at(object, key)) : "-";
}
std::string human_at(const json& object, const char* key, std::string (*human)(std::uint64_t)) {
  return known(object, key) ? human(number_at(object, key)) : "-";
}
std::string human_at(const json& object, const char* key, std::string (*human)(double)) {
  return known(object, key) ? human(real_at(object, key)) : "-";
}

std::string age_at(const json& object, const char* key) {
  return known(object, key) ? human_ms(number_at(object, key)) + " ago" : "-";
}

class Details final {
 public:
  void line(std::string_view name, std::string_view value) {
    if (!value.empty()) text_ += fmt::format("  {:<17} {}\n", name, value);
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void checkpoint_lines(Details& out, const json& guard) {
  const auto& epoch = part(guard, "epoch");
  const auto& pause = part(guard, "pause");
  const auto& traffic = part(guard, "traffic");
  const auto& output = part(guard, "output");
  out.line("epoch", fmt::format("captured {}, committed {}, last commit {}", count_at(epoch, "captured"),
                                count_at(epoch, "committed"), age_at(epoch, "age_of_last_commit_ms")));
  out.line("checkpoints", fmt::format("{} in all, {:.1f} a second", count_at(epoch, "checkpoints_total"),
                                      real_at(epoch, "checkpoints_per_s")));
  if (known(pause, "last_us")) {
    out.line("pause", fmt::format("p50 {}, p99 {}, last {}, longest {}", human_at(pause, "p50_us", human_us),
                                  human_at(pause, "p99_us", human_us), human_at(pause, "last_us", human_us),
                                  human_at(pause, "max_us", human_us)));
    out.line("overhead", fmt::format("{} of the time paused", human_at(pause, "overhead", human_share)));
    out.line("dirty pages", fmt::format("{} in the last epoch, {} on average",
                                        human_at(traffic, "dirty_pages_last", human_count),
                                        human_at(traffic, "dirty_pages_avg", human_count)));
  }
  if (known(traffic, "raw_bytes"))
    out.line("traffic", fmt::format("{} dirty, {} sent ({})", human_at(traffic, "raw_bytes", human_bytes),
                                    human_at(traffic, "wire_bytes", human_bytes),
                                    human_at(traffic, "ratio", human_share)));
  if (known(output, "held_packets")) {
    out.line("output held", fmt::format("{} packets, {}", count_at(output, "held_packets"),
                                        human_at(output, "held_bytes", human_bytes)));
    out.line(
        "output released",
        fmt::format("{} packets, {}; {} dropped", human_at(output, "released_packets", human_count),
                    human_at(output, "released_bytes", human_bytes), count_at(output, "dropped_packets")));
  }
}

void disk_line(Details& out, const json& disk) {
  const auto state = text_at(disk, "state");
  std::string text = known(disk, "bytes") ? human_at(disk, "bytes", human_bytes) + ", " + state : state;
  if (const auto total = number_at(disk, "total_bytes"); known(disk, "compared_bytes") && total != 0) {
    const double share = static_cast<double>(number_at(disk, "compared_bytes")) / static_cast<double>(total);
    text += fmt::format(" {} of {}, {} differed", progress_bar(share, 20), human_bytes(total),
                        human_at(disk, "copied_bytes", human_bytes));
  }
  if (known(disk, "writes"))
    text += fmt::format("; {} writes, {}", human_at(disk, "writes", human_count),
                        human_at(disk, "written_bytes", human_bytes));
  if (known(disk, "log_bytes"))
    text += fmt::format("; {} in the log", human_at(disk, "log_bytes", human_bytes));
  if (known(disk, "resync_bytes"))
    text += fmt::format("; {} to compare if the backup is lost", human_at(disk, "resync_bytes", human_bytes));
  out.line("disk " + text_at(disk, "name"), text);
}

void guard_lines(Details& out, const json& guest, const json& guard, const Style& style) {
  if (const auto& sync = part(guard, "sync"); !sync.empty()) {
    const auto total = std::max<std::uint64_t>(1, number_at(sync, "total_bytes"));
    const double share = static_cast<double>(number_at(sync, "done_bytes")) / static_cast<double>(total);
    const auto eta =
        sync.contains("eta_s") && sync["eta_s"].is_number()
            ? fmt::format(", {} to go", human_ms(static_cast<std::uint64_t>(real_at(sync, "eta_s") * 1000)))
            : std::string{};
    out.line("synchronized", fmt::format("{} of {}{}", progress_bar(share, 20), human_bytes(total), eta));
  }
  if (text_at(guest, "role") == "primary")
    checkpoint_lines(out, guard);
  else
    out.line("epoch", fmt::format("held {}, in the image {}", count_at(part(guard, "epoch"), "committed"),
                                  count_at(part(guard, "epoch"), "applied")));
  for (const auto& disk : list(guard, "disks"))
    if (disk.is_object()) disk_line(out, disk);
  const auto& link = part(guard, "link");
  const auto address = text_at(link, "address");
  out.line("link",
           fmt::format("{}{}{} for {}{}", text_at(link, "state"), address.empty() ? "" : " ", address,
                       human_at(link, "since_ms", human_ms),
                       known(link, "rtt_us") ? ", round trip " + human_at(link, "rtt_us", human_us) : ""));
  out.line("arbiter", text_of_arbiter(part(guard, "arbiter"), style));
  if (const auto& failover = part(guard, "failover"); !failover.empty())
    out.line("failover",
             fmt::format("{}: detected after {}, activated in {}, from epoch {}", text_at(failover, "time"),
                         human_ms(number_at(failover, "detected_ms")),
                         human_ms(number_at(failover, "activation_ms")), number_at(failover, "epoch")));
  out.line("memory taken", human_bytes(number_at(guard, "memory_overhead_bytes")));
  out.line("processes", fmt::format("guard {}, keeper {}, guest {}; guard up for {}", count_at(guard, "pid"),
                                    count_at(guard, "keeper_pid"), count_at(guard, "guest_pid"),
                                    human_ms(number_at(guard, "uptime_ms"))));
}

/// Of all disks together.
std::string logged(const json& guard) {
  std::optional<std::uint64_t> bytes;
  for (const auto& disk : list(guard, "disks"))
    if (disk.is_object() && known(disk, "log_bytes"))
      bytes = bytes.value_or(0) + number_at(disk, "log_bytes");
  return bytes ? human_bytes(*bytes) : "-";
}

}  // namespace

std::string text_of_arbiter(const json& arbiter, const Style& style) {
  const auto kind = text_at(arbiter, "kind");
  const auto warning = text_at(arbiter, "warning");
  return warning.empty() ? kind : style.doubtful(fmt::format("{}: {}", kind, warning));
}

std::string painted_state(const json& guest, const Style& style) {
  const auto text = text_at(guest, "text");
  const auto state = text_at(guest, "state");
  if (guest.value("protected", false)) return style.good(text);
  const bool calm = state == "synchronizing" || state == "starting" || state == "ending" ||
                    state == "empty" || state == "interrupted" || state == "suspecting" ||
                    state == "claiming" || state == "activating";
  return calm ? style.doubtful(text) : style.bad(text);
}

std::string render_status(const json& guests, const Style& style) {
  if (guests.empty())
    return "no guests; protect one with: remus protect NAME --to HOST (on Xen), remus protect NAME --qmp "
           "SOCKET --to HOST "
           "(QEMU)\n";
  Table table{{"GUEST", "ROLE", "PEER", "EPOCH", "COMMIT", "PAUSE", "P99", "STATE"}, {3, 4, 5, 6}};
  for (const auto& guest : guests) {
    const auto& guard = part(guest, "guard");
    const auto& epoch = part(guard, "epoch");
    const auto& pause = part(guard, "pause");
    table.add({text_at(guest, "name"), text_at(guest, "role"), text_at(guest, "peer"),
               count_at(epoch, "committed"), age_at(epoch, "age_of_last_commit_ms"),
               human_at(pause, "p50_us", human_us), human_at(pause, "p99_us", human_us),
               painted_state(guest, style)});
  }
  return table.text();
}

std::string render_guest(const json& guest, const Style& style) {
  Details out;
  const auto& guard = part(guest, "guard");
  out.line("state", painted_state(guest, style));
  if (const auto reason = text_at(guard, "reason"); !reason.empty()) out.line("because", reason);
  out.line("role", fmt::format("{}, peer {}", text_at(guest, "role"), text_at(guest, "peer")));
  out.line("generation", fmt::format("{}", number_at(guest, "generation")));
  if (!guard.empty()) guard_lines(out, guest, guard, style);
  // Asked for just now: what is older comes from a guard that does not answer.
  if (const auto age = number_at(guest, "status_age_ms"); !guard.empty() && age >= stale_ms)
    out.line("as of", style.doubtful(human_ms(age) + " ago: its guard has not answered since"));
  if (known(guest, "memory_bytes")) out.line("guest's memory", human_at(guest, "memory_bytes", human_bytes));
  if (text_at(guest, "hypervisor") == "xen")
    out.line("Xen domain",
             known(guest, "domid") ? fmt::format("{}", number_at(guest, "domid")) : "on the other host");
  else
    out.line("QMP socket", text_at(guest, "qmp"));
  for (const auto* where : {&guest, &guard}) {
    const auto& error = part(*where, "last_error");
    if (error.empty()) continue;
    out.line("last error", style.bad(text_at(error, "what")));
    if (const auto fix = text_at(error, "fix"); !fix.empty()) out.line("", fix);
  }
  return style.strong(text_at(guest, "name")) + "\n" + out.take();
}

std::string render_host(const json& host) {
  Details out;
  out.line("host", text_at(host, "host"));
  out.line("version", text_at(host, "version"));
  out.line("configuration", text_at(host, "config"));
  out.line("peer port", fmt::format("{}", number_at(host, "peer_port")));
  out.line("guests", fmt::format("{}", number_at(host, "guests")));
  std::string peers;
  for (const auto& peer : host.value("peers", json::array()))
    peers += (peers.empty() ? "" : ", ") + text_at(peer, "name");
  out.line("peers", peers.empty() ? "none" : peers);
  return out.take();
}

std::string render_peers(const json& peers, const Style& style) {
  if (peers.empty()) return "no other host is known; add one with: remus host add NAME ADDRESS...\n";
  Table table{{"HOST", "VERSION", "ADDRESS", "STATE"}};
  for (const auto& peer : peers) {
    const bool reachable = peer.value("reachable", false);
    const auto version = text_at(part(peer, "hello"), "version");
    table.add({text_at(peer, "name"), version.empty() ? "-" : version,
               text_at(peer, "address").empty() ? "-" : text_at(peer, "address"),
               reachable ? style.good("answers") : style.bad(text_at(part(peer, "error"), "what"))});
  }
  return table.text();
}

std::string render_event(const json& event, const Style& style) {
  const auto kind = text_at(event, "kind");
  auto text = text_at(event, "text");
  if (kind == "error") text = style.bad(text);
  if (kind == "failover" || kind == "superseded") text = style.strong(text);
  return fmt::format("{}  {:<16} {:<8} {}\n", style.faint(text_at(event, "time")), text_at(event, "guest"),
                     text_at(event, "side"), text);
}

std::string render_verify(const std::string& guest, const json& report, const Style& style) {
  const auto pages = number_at(report, "pages_different");
  const auto blocks = number_at(report, "blocks_different");
  const bool disks = known(report, "blocks_compared");
  const auto last = number_at(report, "epoch");
  const auto first = known(report, "first_epoch") ? number_at(report, "first_epoch") : last;
  std::string out =
      fmt::format("{}: {} pages{} compared at {} in {}: ", guest, number_at(report, "pages_compared"),
                  disks ? fmt::format(" and {} blocks of disks", number_at(report, "blocks_compared")) : "",
                  first == last ? fmt::format("epoch {}", last) : fmt::format("epochs {} to {}", first, last),
                  human_ms(number_at(report, "duration_ms")));
  std::string left_out;
  if (const auto bytes = number_at(report, "bytes_left_out"); bytes != 0)
    left_out = "  " +
               style.doubtful(fmt::format("{} of disks left out: written all the time, or not readable",
                                          human_bytes(bytes))) +
               "\n";
  if (pages == 0 && blocks == 0) {
    const char* const what = !disks             ? "the backup's memory is the guest's"
                             : left_out.empty() ? "the backup's memory and disks are the guest's"
                                                : "no difference in what was compared";
    return out + style.good(what) + "\n" + left_out;
  }
  std::string differ;
  if (pages != 0) differ = fmt::format("{} pages", pages);
  if (blocks != 0) differ += fmt::format("{}{} blocks", differ.empty() ? "" : " and ", blocks);
  out += style.bad(differ + " DIFFER") + "\n" + left_out;
  std::size_t listed = 0;
  for (const auto& page : list(report, "different")) {
    out += fmt::format("  {} page {}\n", text_at(page, "block"), number_at(page, "index"));
    ++listed;
  }
  for (const auto& block : list(report, "different_blocks")) {
    out += fmt::format("  disk {} at byte {}\n", text_at(block, "disk"), number_at(block, "offset"));
    ++listed;
  }
  if (listed < pages + blocks) out += fmt::format("  and {} more\n", pages + blocks - listed);
  return out + "  the backup is not to be trusted: unprotect and protect the guest again, and report this\n";
}

std::string render_doctor(const json& report, const Style& style) {
  std::string out;
  std::size_t width = 0;
  const auto checks = report.value("checks", json::array());
  for (const auto& check : checks) width = std::max(width, text_at(check, "name").size());
  for (const auto& check : checks) {
    const auto verdict = text_at(check, "verdict");
    const auto word = verdict == "ok"     ? style.good("OK  ")
                      : verdict == "warn" ? style.doubtful("WARN")
                                          : style.bad("FAIL");
    out += fmt::format("{}  {}  {}\n", word, fit(text_at(check, "name"), width), text_at(check, "text"));
    if (const auto fix = text_at(check, "fix"); !fix.empty())
      out += fmt::format("      {}  → {}\n", std::string(width, ' '), fix);
  }
  return out;
}

std::string render_certificate(const link::CertificateInfo& c) {
  Details out;
  out.line("subject", c.subject);
  out.line("issuer", c.issuer);
  out.line("names", fmt::format("{}", fmt::join(c.dns_names, ", ")));
  out.line("addresses", fmt::format("{}", fmt::join(c.addresses, ", ")));
  out.line("valid", c.days_left < 0 ? fmt::format("EXPIRED on {}", c.not_after)
                                    : fmt::format("from {} to {} ({} days left)", c.not_before, c.not_after,
                                                  c.days_left));
  out.line("authority", c.is_ca ? "yes" : "no");
  out.line("serial", c.serial);
  out.line("fingerprint", c.fingerprint_sha256);
  return out.take();
}

std::string render_dry_run(const std::string& guest, const json& answer) {
  const auto& description = part(answer, "description");
  return fmt::format("{} can be protected: {} {}, {} of memory. Nothing was changed.\n", guest,
                     text_at(description, "hypervisor"), text_at(description, "version"),
                     human_bytes(number_at(description, "memory_bytes")));
}

std::string TopView::render(const json& host, const json& guests, std::size_t width, std::size_t height,
                            const Style& style) {
  Table table{{"GUEST", "ROLE", "PEER", "EPOCH", "COMMIT", "CKPT/S", "P50", "P99", "DIRTY", "RAW", "SENT",
               "HELD", "DISKLOG", "PAUSED", "PAUSES", "STATE"},
              {3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}};
  std::size_t safe = 0;
  std::size_t shown = 0;
  const std::size_t rows_max = height > 4 ? height - 4 : guests.size();
  std::map<std::string, std::deque<std::uint64_t>> kept;
  for (const auto& guest : guests) {
    const auto& guard = part(guest, "guard");
    const auto& epoch = part(guard, "epoch");
    const auto& pause = part(guard, "pause");
    const auto& traffic = part(guard, "traffic");
    const auto name = text_at(guest, "name");
    auto& pauses = kept[name] = std::move(pauses_[name]);
    if (known(pause, "last_us")) pauses.push_back(number_at(pause, "last_us"));
    while (pauses.size() > history_max) pauses.pop_front();
    if (guest.value("protected", false)) ++safe;
    if (shown++ >= rows_max) continue;
    table.add(
        {name, text_at(guest, "role"), text_at(guest, "peer"), count_at(epoch, "committed"),
         age_at(epoch, "age_of_last_commit_ms"),
         known(epoch, "checkpoints_per_s") ? fmt::format("{:.1f}", real_at(epoch, "checkpoints_per_s")) : "-",
         human_at(pause, "p50_us", human_us), human_at(pause, "p99_us", human_us),
         human_at(traffic, "dirty_pages_avg", human_count), human_at(traffic, "raw_bytes", human_bytes),
         human_at(traffic, "wire_bytes", human_bytes),
         human_at(part(guard, "output"), "held_bytes", human_bytes), logged(guard),
         human_at(pause, "overhead", human_share),
         sparkline({pauses.begin(), pauses.end()}, !style.colours()), painted_state(guest, style)});
  }
  pauses_ = std::move(kept);
  std::string out = fmt::format("remus {} on {}: {} guests, {} safe\n\n", text_at(host, "version"),
                                style.strong(text_at(host, "host")), guests.size(), safe);
  out += table.text(width);
  if (shown > rows_max) out += fmt::format("and {} more\n", shown - rows_max);
  return out;
}

}  // namespace remus::cli
