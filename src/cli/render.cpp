#include "cli/render.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "daemon/json_fields.hpp"

namespace remus::cli {
namespace {

using daemon::number_at;
using daemon::text_at;
using nlohmann::json;

const json& part(const json& object, const char* key) {
  static const json none = json::object();
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : none;
}

double real_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0.0;
}

std::string age_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? human_ms(found->get<std::uint64_t>()) + " ago" : "-";
}

/// Numbers of checkpoints mean something only on the side that takes them.
bool checkpoints_here(const json& guest) {
  return text_at(guest, "role") == "primary" && guest.contains("guard") && guest["guard"].is_object();
}

std::string ratio_of(const json& traffic) {
  const auto raw = number_at(traffic, "raw_bytes");
  return raw == 0
             ? "-"
             : human_share(static_cast<double>(number_at(traffic, "wire_bytes")) / static_cast<double>(raw));
}

class Details final {
 public:
  void line(std::string_view name, std::string_view value) {
    if (!value.empty()) text_ += fmt::format("  {:<18}{}\n", name, value);
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
  out.line("epoch", fmt::format("captured {}, committed {}, last commit {}", number_at(epoch, "captured"),
                                number_at(epoch, "committed"), age_at(epoch, "age_of_last_commit_ms")));
  out.line("checkpoints", fmt::format("{} in all, {:.1f} a second", number_at(epoch, "checkpoints_total"),
                                      real_at(epoch, "checkpoints_per_s")));
  out.line("pause", fmt::format("p50 {}, p99 {}, last {}, longest {}", human_us(number_at(pause, "p50_us")),
                                human_us(number_at(pause, "p99_us")), human_us(number_at(pause, "last_us")),
                                human_us(number_at(pause, "max_us"))));
  out.line("overhead", fmt::format("{} of the time paused", human_share(real_at(pause, "overhead"))));
  out.line("dirty pages",
           fmt::format("{} in the last epoch, {} on average",
                       human_count(static_cast<double>(number_at(traffic, "dirty_pages_last"))),
                       human_count(real_at(traffic, "dirty_pages_avg"))));
  out.line("traffic", fmt::format("{} dirty, {} sent ({})", human_bytes(number_at(traffic, "raw_bytes")),
                                  human_bytes(number_at(traffic, "wire_bytes")), ratio_of(traffic)));
  out.line("output held", fmt::format("{} packets, {}", number_at(output, "held_packets"),
                                      human_bytes(number_at(output, "held_bytes"))));
  out.line(
      "output released",
      fmt::format("{} packets, {}; {} dropped",
                  human_count(static_cast<double>(number_at(output, "released_packets"))),
                  human_bytes(number_at(output, "released_bytes")), number_at(output, "dropped_packets")));
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
    out.line("epoch", fmt::format("held {}, in the image {}", number_at(part(guard, "epoch"), "committed"),
                                  number_at(part(guard, "epoch"), "applied")));
  const auto& link = part(guard, "link");
  out.line("link",
           fmt::format(
               "{} {} for {}{}", text_at(link, "state"), text_at(link, "address"),
               human_ms(number_at(link, "since_ms")),
               number_at(link, "rtt_us") == 0 ? "" : ", round trip " + human_us(number_at(link, "rtt_us"))));
  out.line("arbiter", text_of_arbiter(part(guard, "arbiter"), style));
  if (const auto& failover = part(guard, "failover"); !failover.empty())
    out.line("failover",
             fmt::format("{}: detected after {}, activated in {}, from epoch {}", text_at(failover, "time"),
                         human_ms(number_at(failover, "detected_ms")),
                         human_ms(number_at(failover, "activation_ms")), number_at(failover, "epoch")));
  out.line("memory taken", human_bytes(number_at(guard, "memory_overhead_bytes")));
  out.line("processes", fmt::format("guard {}, keeper {}, guest {}; guard up for {}", number_at(guard, "pid"),
                                    number_at(guard, "keeper_pid"), number_at(guard, "guest_pid"),
                                    human_ms(number_at(guard, "uptime_ms"))));
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
                    state == "activating";
  return calm ? style.doubtful(text) : style.bad(text);
}

std::string render_status(const json& guests, const Style& style) {
  if (guests.empty()) return "no guests; protect one with: remus protect NAME --qmp SOCKET --to HOST\n";
  Table table{{"GUEST", "ROLE", "PEER", "EPOCH", "COMMIT", "PAUSE", "P99", "STATE"}, {3, 4, 5, 6}};
  for (const auto& guest : guests) {
    const auto& guard = part(guest, "guard");
    const auto& epoch = part(guard, "epoch");
    const auto& pause = part(guard, "pause");
    const bool numbers = checkpoints_here(guest) && number_at(epoch, "checkpoints_total") != 0;
    table.add({text_at(guest, "name"), text_at(guest, "role"), text_at(guest, "peer"),
               guard.empty() ? "-" : fmt::format("{}", number_at(epoch, "committed")),
               numbers ? age_at(epoch, "age_of_last_commit_ms") : "-",
               numbers ? human_us(number_at(pause, "p50_us")) : "-",
               numbers ? human_us(number_at(pause, "p99_us")) : "-", painted_state(guest, style)});
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
  const auto different = number_at(report, "pages_different");
  std::string out =
      fmt::format("{}: {} pages compared at epoch {} in {}: ", guest, number_at(report, "pages_compared"),
                  number_at(report, "epoch"), human_ms(number_at(report, "duration_ms")));
  if (different == 0) return out + style.good("the backup's memory is the guest's") + "\n";
  out += style.bad(fmt::format("{} pages DIFFER", different)) + "\n";
  std::size_t listed = 0;
  for (const auto& page : report.value("different", json::array())) {
    out += fmt::format("  {} page {}\n", text_at(page, "block"), number_at(page, "index"));
    ++listed;
  }
  if (listed < different) out += fmt::format("  and {} more\n", different - listed);
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
               "HELD", "PAUSED", "PAUSES", "STATE"},
              {3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};
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
    const bool numbers = checkpoints_here(guest);
    if (numbers) pauses.push_back(number_at(pause, "last_us"));
    while (pauses.size() > history_max) pauses.pop_front();
    if (guest.value("protected", false)) ++safe;
    if (shown++ >= rows_max) continue;
    const auto number = [&](std::string text) { return numbers ? std::move(text) : std::string{"-"}; };
    table.add({name, text_at(guest, "role"), text_at(guest, "peer"),
               guard.empty() ? "-" : fmt::format("{}", number_at(epoch, "committed")),
               number(age_at(epoch, "age_of_last_commit_ms")),
               number(fmt::format("{:.1f}", real_at(epoch, "checkpoints_per_s"))),
               number(human_us(number_at(pause, "p50_us"))), number(human_us(number_at(pause, "p99_us"))),
               number(human_count(real_at(traffic, "dirty_pages_avg"))),
               number(human_bytes(number_at(traffic, "raw_bytes"))),
               number(human_bytes(number_at(traffic, "wire_bytes"))),
               number(human_bytes(number_at(part(guard, "output"), "held_bytes"))),
               number(human_share(real_at(pause, "overhead"))),
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
