#include "daemon/doctor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string_view>

#include "base/units.hpp"
#include "daemon/json_fields.hpp"

namespace remus::daemon::doctor {
namespace {

constexpr std::uint64_t mib = 1ULL << 20;
constexpr std::int64_t clock_skew_max_s = 60;
constexpr std::uint64_t memory_enough = 512 * mib;
constexpr std::uint64_t image_enough = 1024 * mib;
constexpr std::int64_t renewal_days = 30;

Check ok(std::string name, std::string text) {
  return {std::move(name), Verdict::ok, std::move(text), {}};
}
Check warn(std::string name, std::string text, std::string fix) {
  return {std::move(name), Verdict::warn, std::move(text), std::move(fix)};
}
Check bad(std::string name, std::string text, std::string fix) {
  return {std::move(name), Verdict::fail, std::move(text), std::move(fix)};
}
Check bad(std::string name, const Error& error) {
  return bad(std::move(name), error.what, error.fix);
}

Check judge_space(std::string name, const std::filesystem::path& path, const Result<std::uint64_t>& free,
                  std::uint64_t enough, std::string_view what_for) {
  if (!free) return bad(std::move(name), free.error());
  const auto text = fmt::format("{} MiB free in {}", *free / mib, path.string());
  if (*free >= enough) return ok(std::move(name), text);
  return warn(std::move(name), text, fmt::format("{}; have at least {}", what_for, format_size(enough)));
}

Check judge_host(const Config& config) {
  const auto text = fmt::format("{}, remus {}", config.host, REMUS_VERSION);
  if (config.host == "localhost")
    return bad("host", text, "other hosts know this one by its name: set host.name in remus.toml");
  return ok("host", text);
}

/// Memory of the guests protected to `peer` for which it holds no image yet.
std::uint64_t still_to_come(const nlohmann::json& guests, const std::string& peer) {
  std::uint64_t bytes = 0;
  for (const auto& guest : guests)
    if (text_at(guest, "role") == "primary" && text_at(guest, "peer") == peer &&
        !guest.value("protected", false))
      bytes += number_at(guest, "memory_bytes");
  return bytes;
}

std::optional<Check> judge_room(const std::string& peer, const nlohmann::json& hello, std::uint64_t to_come) {
  if (!hello.contains("image_free_bytes") || !hello.contains("memory_available_bytes")) return std::nullopt;
  if (hello.contains("xen"))
    return std::nullopt;  // its standbys' memory is the hypervisor's: judge_xen_peers()
  const auto image = number_at(hello, "image_free_bytes");
  const auto memory = number_at(hello, "memory_available_bytes");
  const auto name = fmt::format("room on {}", peer);
  const auto text =
      fmt::format("{} MiB of memory available, {} MiB free for images{}", memory / mib, image / mib,
                  to_come == 0 ? "" : fmt::format("; {} MiB still to come", to_come / mib));
  if (image < to_come)
    return bad(name, text,
               fmt::format("make room on {}: a standby takes as much as its guest's memory (mount -o "
                           "remount,size=... the file system of paths.image)",
                           peer));
  if (image < image_enough || memory < std::max(memory_enough, to_come))
    return warn(
        name, text,
        fmt::format("standbys keep their guest's memory there: add memory to {}, or move guests", peer));
  return ok(name, text);
}

Check judge_ports(const Config& config, const Probes& probes, bool daemon_runs) {
  const std::string& address = config.listen.front();
  const auto peer_port = probes.bind(address, config.peer_port);
  if (!daemon_runs && !peer_port)
    return bad("ports", fmt::format("the peer port cannot be used: {}", peer_port.error().what),
               "stop what holds it, or set network.peer_port");
  unsigned free = 0;
  unsigned all = 0;
  for (unsigned port = config.guard_port_first; port <= config.guard_port_last; ++port, ++all)
    if (probes.bind(address, static_cast<std::uint16_t>(port))) ++free;
  const auto text = fmt::format("peer port {}{}, {} of {} guard ports free ({} to {})", config.peer_port,
                                daemon_runs ? " in use by remusd" : " free", free, all,
                                config.guard_port_first, config.guard_port_last);
  if (free == 0) return bad("ports", text, "widen network.guard_ports");
  if (free < 4) return warn("ports", text, "each standby on this host needs one: widen network.guard_ports");
  return ok("ports", text);
}

Check judge_bridges(const Config& config, const Probes& probes) {
  const auto bridges = probes.bridges();
  for (const auto& [from, to] : config.defaults.bridges)
    if (std::ranges::find(bridges, to) == bridges.end())
      return bad("bridge", fmt::format("bridge '{}' (for guests of '{}') does not exist", to, from),
                 fmt::format("ip link add {} type bridge, or correct defaults.bridges", to));
  if (bridges.empty())
    return warn(
        "bridge", "this host has no bridge",
        "guests with tap devices need one to be reached after a failover: ip link add br0 type bridge");
  return ok("bridge", fmt::format("{}", fmt::join(bridges, ", ")));
}

Check judge_arbiter(const Config& config) {
  if (config.defaults.arbiter != guard::ArbiterKind::fail_stop)
    return ok("arbiter", fmt::format("{} by default", guard::to_string(config.defaults.arbiter)));
  for (const auto& [name, peer] : config.peers)
    if (peer.addresses.size() < 2)
      return warn(
          "arbiter",
          fmt::format("fail-stop with a single path to {}: when it is cut, both hosts may run a guest", name),
          fmt::format("give {} a second address on another network, or set defaults.arbiter = \"manual\"",
                      name));
  return warn("arbiter",
              "fail-stop: if every path between the hosts is cut while both live, both may run a guest",
              "accept this knowingly, or set defaults.arbiter = \"manual\"");
}

}  // namespace

std::string_view to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::ok: return "ok";
    case Verdict::warn: return "warn";
    case Verdict::fail: return "fail";
  }
  return "unknown";
}

namespace {

/// Up to three numbers with dots between, as a text begins with; nullopt if there are fewer than `least`.
std::optional<std::array<int, 3>> dotted(std::string_view text, std::size_t least) {
  std::array<int, 3> out{};
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto [next, code] = std::from_chars(at, end, out.at(i));
    if (code != std::errc{}) return i < least ? std::nullopt : std::optional{out};
    at = next;
    if (at == end || *at != '.') return i + 1 < least ? std::nullopt : std::optional{out};
    ++at;
  }
  return out;
}

}  // namespace

Check judge_kernel(const std::string& release) {
  const auto numbers = dotted(release, 2);
  if (!numbers)
    return warn("kernel", fmt::format("Linux '{}' cannot be judged", release), "use Linux 5.10 or later");
  const auto [major, minor, patch] = *numbers;
  if (std::pair{major, minor} < std::pair{5, 4})
    return bad("kernel", fmt::format("Linux {} has no pidfd for waiting", release),
               "use Linux 5.10 or later");
  if (std::pair{major, minor} < std::pair{5, 10})
    return warn("kernel", fmt::format("Linux {} is older than what is tested", release),
                "use Linux 5.10 or later");
  return ok("kernel", fmt::format("Linux {}", release));
}

Check judge_qemu(const Result<std::string>& line, bool kvm_usable) {
  if (!line) return bad("qemu", line.error());
  constexpr std::string_view mark = "version ";
  const auto at = line->find(mark);
  const auto numbers =
      at == std::string::npos ? std::nullopt : dotted(std::string_view{*line}.substr(at + mark.size()), 3);
  if (!numbers)
    return bad("qemu", fmt::format("its version cannot be read from '{}'", *line),
               "install QEMU 7.2 or later");
  const auto [major, minor, micro] = *numbers;
  const auto text = fmt::format("QEMU {}.{}.{}", major, minor, micro);
  if (std::pair{major, minor} < std::pair{7, 2})
    return bad("qemu", text + " is older than what is tested", "install QEMU 7.2 or later");
  if (major == 10 && minor == 0)
    return bad(
        "qemu", text + ": its COLO source ends at once instead of checkpointing",
        "install 7.2 to 9.2, or 10.1 and later; the guest's own QEMU counts, restart it after the update");
  if (!kvm_usable && std::pair{major, minor} < std::pair{11, 0})
    return warn("qemu", text + ": without KVM its checkpoints may hang after the first ones",
                "use KVM, or QEMU 11 and later, for guests that matter");
  return ok("qemu", text);
}

Check judge_certificate(const Result<link::CertificateInfo>& certificate, const std::string& host) {
  if (!certificate)
    return bad("certificate", certificate.error().what,
               fmt::format("remus cert issue CA-DIR {} OUT-DIR, and copy OUT-DIR here", host));
  const auto& names = certificate->dns_names;
  if (std::ranges::find(names, host) == names.end())
    return bad("certificate",
               fmt::format("it is for {}, but this host is '{}'", fmt::join(names, ", "), host),
               "set host.name in remus.toml, or issue one for this name");
  const auto renewal = fmt::format("renew it: remus cert issue CA-DIR {} OUT-DIR", host);
  if (certificate->days_left < 0)
    return bad("certificate", fmt::format("expired {} days ago", -certificate->days_left), renewal);
  const auto text =
      fmt::format("valid for {} more days (until {})", certificate->days_left, certificate->not_after);
  if (certificate->days_left < renewal_days) return warn("certificate", text, renewal);
  return ok("certificate", text);
}

Check judge_authority(const Result<link::CertificateInfo>& certificate) {
  if (!certificate)
    return bad("authority", certificate.error().what,
               "copy ca.crt of the cluster's authority (remus cert init CA-DIR) to this host's paths.pki");
  const auto renewal = "make a new one (remus cert init CA-DIR) and issue every host's certificate anew";
  if (certificate->days_left < 0)
    return bad("authority", fmt::format("expired {} days ago", -certificate->days_left), renewal);
  const auto text =
      fmt::format("valid for {} more days (until {})", certificate->days_left, certificate->not_after);
  return certificate->days_left < renewal_days ? warn("authority", text, renewal) : ok("authority", text);
}

namespace {

void judge_emulator(std::vector<Check>& out, const Probes& probes) {
  const auto kvm = probes.kvm();
  out.push_back(kvm ? ok("kvm", "usable")
                    : warn("kvm", kvm.error().what,
                           kvm.error().fix.empty()
                               ? "guests run emulated (slowly); enable virtualization in the "
                                 "firmware, load kvm_intel or kvm_amd"
                               : kvm.error().fix));
  out.push_back(judge_qemu(probes.qemu_version(), kvm.has_value()));
}

}  // namespace

std::vector<Check> examine(const Config& config, const Probes& probes, bool daemon_runs) {
  std::vector<Check> out;
  out.push_back(judge_host(config));
  out.push_back(judge_kernel(probes.kernel_release()));

  auto xen = probes.xen ? probes.xen(config) : std::nullopt;
  if (xen)
    out.insert(out.end(), xen->begin(), xen->end());
  else
    judge_emulator(out, probes);
  out.push_back(judge_certificate(probes.certificate(config.dirs.pki / "host.crt"), config.host));
  out.push_back(judge_authority(probes.certificate(config.dirs.pki / "ca.crt")));
  const auto identity = probes.identity(config.dirs.pki);
  out.push_back(identity ? ok("identity",
                              fmt::format("keys and authority in {} fit together", config.dirs.pki.string()))
                         : bad("identity", identity.error()));
  out.push_back(judge_ports(config, probes, daemon_runs));
  if (!xen)  // a Xen guest's standby has its memory from the hypervisor
    out.push_back(judge_space("image-space", config.dirs.image, probes.free_bytes(config.dirs.image),
                              image_enough, "a standby's image takes as much as its guest's memory"));
  out.push_back(judge_space("state-space", config.dirs.state, probes.free_bytes(config.dirs.state), 16 * mib,
                            "protecting a guest must be recorded on disk"));
  const auto available = probes.memory_available();
  out.push_back(available >= memory_enough
                    ? ok("memory", fmt::format("{} MiB available", available / mib))
                    : warn("memory", fmt::format("{} MiB available", available / mib),
                           "standbys keep their guest's memory here: add memory or move guests"));
  const auto tun = probes.open_device("/dev/net/tun");
  out.push_back(tun ? ok("tun", "/dev/net/tun opens")
                    : warn("tun", tun.error().what, "load it: modprobe tun"));
  out.push_back(judge_bridges(config, probes));
  out.push_back(probes.clock_synchronized()
                    ? ok("clock", "synchronized")
                    : warn("clock", "not synchronized",
                           "certificates need true time: run chrony or systemd-timesyncd"));
  out.push_back(probes.executable(config.guard_binary)
                    ? ok("guard", config.guard_binary.string())
                    : bad("guard",
                          fmt::format("'{}' is not there or not executable", config.guard_binary.string()),
                          "install the package whole, or correct paths.guard"));
  out.push_back(judge_arbiter(config));
  if (!daemon_runs)
    out.push_back(bad("daemon", fmt::format("remusd does not answer on {}", config.admin_socket().string()),
                      "start it: systemctl start remusd"));
  else
    out.push_back(ok("daemon", fmt::format("remusd {} answers", REMUS_VERSION)));
  return out;
}

void add_peers(std::vector<Check>& checks, const nlohmann::json& peers, const nlohmann::json& guests) {
  if (peers.empty())
    checks.push_back(warn("peers", "no other host is known", "add one: remus host add NAME ADDRESS"));
  for (const auto& peer : peers) {
    const auto name = text_at(peer, "name");
    const auto check = fmt::format("peer {}", name);
    if (!peer.value("reachable", false)) {
      const auto& error = peer.contains("error") ? peer["error"] : nlohmann::json{};
      checks.push_back(bad(check, text_at(error, "what"), text_at(error, "fix")));
      continue;
    }
    const auto& hello = peer["hello"];
    const auto skew =
        static_cast<std::int64_t>(number_at(hello, "time_s")) - static_cast<std::int64_t>(std::time(nullptr));
    const auto version = text_at(hello, "version");
    if (version != REMUS_VERSION)
      checks.push_back(warn(check, fmt::format("runs remus {}, this host {}", version, REMUS_VERSION),
                            "bring both to the same version"));
    else if (std::abs(skew) > clock_skew_max_s)
      checks.push_back(
          warn(check, fmt::format("its clock differs by {} s", std::abs(skew)), "synchronize the clocks"));
    else
      checks.push_back(ok(check, fmt::format("answers on {}; its clock differs by {} s",
                                             text_at(peer, "address"), std::abs(skew))));
    if (auto room = judge_room(name, hello, still_to_come(guests, name))) checks.push_back(std::move(*room));
  }
}

nlohmann::json to_json(const std::vector<Check>& checks) {
  auto list = nlohmann::json::array();
  for (const auto& check : checks)
    list.push_back({{"name", check.name},
                    {"verdict", to_string(check.verdict)},
                    {"text", check.text},
                    {"fix", check.fix}});
  const bool healthy =
      std::ranges::none_of(checks, [](const Check& check) { return check.verdict == Verdict::fail; });
  return {{"healthy", healthy}, {"checks", std::move(list)}};
}

}  // namespace remus::daemon::doctor
