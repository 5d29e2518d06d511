#include "cli/arguments.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "base/units.hpp"
#include "guard/options.hpp"
#include "guard/spec.hpp"

namespace remus::cli {
namespace {

std::int64_t milliseconds_of(std::chrono::nanoseconds time) noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

constexpr std::string_view exit_codes =
    "Exit status: 0 done, 1 fault, 2 invalid, 3 not found, 4 exists, 5 refused, 6 unsupported, 7 "
    "incompatible,\n"
    "8 unreachable, 9 denied, 10 exhausted, 11 corrupt, 12 I/O, 13 timeout, 14 closed, 20 not healthy. See "
    "remus(1).";
constexpr std::string_view exit_hint =
    "Exit status: 0 done, 20 not healthy, else what failed; see remus --help.";

std::string message(const Error& error) {
  return error.text();
}

/// A CLI11 check out of one of our parsers: empty means good.
template <typename Parse>
CLI::Validator check(Parse parse, std::string kind) {
  return CLI::Validator{[parse](std::string& text) -> std::string {
                          auto read = parse(text);
                          return read ? std::string{} : message(read.error());
                        },
                        std::move(kind)};
}

CLI::Validator guest_name() {
  return check([](const std::string& text) { return guard::validate_guest_name(text); }, "");
}
CLI::Validator host_name() {
  return check([](const std::string& text) { return guard::validate_host_name(text); }, "");
}

/// Adds --interval and the like to a command; what is given lands in `options` under the API's names.
void add_guest_options(CLI::App& command, nlohmann::json& options) {
  const auto text = [&](const char* flag, const char* key, const CLI::Validator& valid, const char* help) {
    command
        .add_option_function<std::string>(
            flag, [&options, key](const std::string& value) { options[key] = value; }, help)
        ->check(valid);
  };
  const auto duration = check([](const std::string& value) { return parse_duration(value); }, "DURATION");
  const auto rate = check([](const std::string& value) { return parse_rate(value); }, "RATE");
  const auto size = check([](const std::string& value) { return parse_size(value); }, "SIZE");
  text("--interval", "interval", duration, "time between checkpoints when no output waits, e.g. 100ms");
  text("--max-latency", "max_latency", duration,
       "output waits at most this long for its checkpoint, e.g. 25ms");
  text("--min-interval", "min_interval", duration, "no two pauses closer than this, e.g. 2ms");
  text("--max-bytes-in-flight", "max_bytes_in_flight", size,
       "captured and not yet acknowledged; beyond, the next checkpoint waits, e.g. 512MiB");
  text("--heartbeat", "heartbeat", duration, "time between signs of life, e.g. 25ms");
  text("--alone-after", "alone_after", duration, "go on without backup after this much silence, e.g. 3s");
  text("--detect-min", "detect_min", duration, "silence shorter than this is never taken for a failure");
  text("--detect-max", "detect_max", duration, "silence longer than this always is");
  text("--bandwidth", "bandwidth", rate, "limit of the link, e.g. 100MiB/s, 1Gbit/s, unlimited");
  text("--copy-rate", "copy_rate", rate,
       "disks are read no faster for their copy on the backup, e.g. 50MiB/s, unlimited");
  text("--delta-cache", "delta_cache", size, "memory for contents to send differences against, e.g. 64MiB");
  text("--output-buffer", "output_buffer", size, "memory for output that waits, e.g. 64MiB");
  text("--compression", "compression", CLI::IsMember({"auto", "none", "lz4", "zstd"}),
       "auto, none, lz4 or zstd");
  text("--arbiter", "arbiter", CLI::IsMember({"fail-stop", "manual"}),
       "who may take over: fail-stop (by itself) or manual (only remus failover)");
  command
      .add_option_function<unsigned>(
          "--max-epochs-in-flight", [&options](unsigned value) { options["max_epochs_in_flight"] = value; },
          "the same as a number of checkpoints, e.g. 4")
      ->check(CLI::Range(1U, 64U));
  command
      .add_option_function<double>(
          "--max-overhead", [&options](double value) { options["max_overhead"] = value; },
          "the guest is paused at most this share of time, e.g. 0.3")
      ->check(CLI::Range(0.01, 1.0));
  command
      .add_option_function<std::vector<std::string>>(
          "--disk",
          [&options](const std::vector<std::string>& disks) {
            std::vector<guard::DiskOption> read;
            for (const auto& disk : disks)
              if (auto option = guard::parse_disk_option(disk)) read.push_back(std::move(*option));
            options["disks"] = guard::to_json(read);
          },
          "what to do with a disk the guest can write: replicate (default), shared, external or scratch; "
          "may be given several times, e.g. vda, vda=shared, vda=replicate,target=/srv/vm/vda.raw,overwrite")
      ->allow_extra_args(false)
      ->check(check([](const std::string& disk) { return guard::parse_disk_option(disk); },
                    "NAME[=MODE][,target=PATH][,overwrite]"));
  command
      .add_option_function<std::vector<std::string>>(
          "--bridge",
          [&options](const std::vector<std::string>& pairs) {
            for (const auto& pair : pairs) {
              const auto equals = pair.find('=');
              options["bridges"][pair.substr(0, equals)] = pair.substr(equals + 1);
            }
          },
          "bridge here = bridge there, where their names differ, e.g. br0=lan1")
      ->check(CLI::Validator{[](std::string& pair) -> std::string {
                               const auto equals = pair.find('=');
                               const bool good =
                                   equals != std::string::npos && equals > 0 && equals + 1 < pair.size();
                               return good ? "" : fmt::format("'{}' is not HERE=THERE", pair);
                             },
                             "HERE=THERE"});
}

struct Parser {
  CLI::App app{"remus: virtual machines that survive the death of their host"};
  Arguments out{};
  // Each command's words are read into its own place; the one that was named is chosen at the end.
  HostAdd host_add{};
  HostRemove host_remove{};
  CertInit cert_init{};
  CertIssue cert_issue{};
  CertShow cert_show{};
  Protect protect{};
  XlRemus xl_remus{};
  Unprotect unprotect{};
  Set set{};
  Show show{};
  Top top{};
  Events events{};
  Failover failover{};
  Verify verify{};
  Doctor doctor{};
  std::string top_interval{"1s"};
  bool no_wait{};
  std::string verify_pause{};

  template <typename T>
  CLI::App* command(CLI::App& parent, const char* name, const char* help, const char* examples, T& words) {
    auto* made = parent.add_subcommand(name, help);
    made->footer(fmt::format("Examples:\n{}\n{}", examples, exit_hint));
    made->callback([this, &words] { out.command = words; });
    return made;
  }

  void add_host() {
    auto* host = app.add_subcommand("host", "this host and the hosts it works with");
    host->require_subcommand(1);
    host->footer(fmt::format("Examples:\n  remus host list\n  remus host add hostB 10.0.0.2\n{}", exit_hint));
    static HostShow show_words;
    static HostList list_words;
    command(*host, "show", "this host", "  remus host show", show_words);
    command(*host, "list", "other hosts, and whether they answer", "  remus host list --json", list_words);
    auto* add = command(
        *host, "add", "make another host known, by each address it has",
        "  remus host add hostB 10.0.0.2 192.168.1.2\n  remus host add hostC hostc.example:7600", host_add);
    add->add_option("NAME", host_add.name, "its name, as in its certificate")->required()->check(host_name());
    add->add_option("ADDRESS", host_add.addresses, "one for each path, best first")
        ->required()
        ->expected(1, 8);
    auto* remove = command(*host, "remove", "forget another host", "  remus host remove hostC", host_remove);
    remove->add_option("NAME", host_remove.name, "its name")->required();
  }

  void add_cert() {
    auto* cert = app.add_subcommand("cert", "the certificates hosts show each other");
    cert->require_subcommand(1);
    cert->footer(
        fmt::format("Examples:\n  remus cert init /var/lib/remus-ca\n  remus cert show\n{}", exit_hint));
    auto* init = command(*cert, "init", "create a certificate authority",
                         "  remus cert init /var/lib/remus-ca", cert_init);
    init->add_option("CA-DIR", cert_init.directory, "directory for it; keep it off the hosts if you can")
        ->required();
    init->add_option("--cluster", cert_init.cluster, "name it stands for")->capture_default_str();
    auto* issue = command(*cert, "issue", "issue a host's certificate",
                          "  remus cert issue /var/lib/remus-ca hostB /var/lib/hostB-pki\n"
                          "  then copy /var/lib/hostB-pki/* to hostB:/etc/remus/pki/",
                          cert_issue);
    issue->add_option("CA-DIR", cert_issue.ca, "directory of the authority")->required();
    issue->add_option("HOST", cert_issue.host, "the host's name")->required()->check(host_name());
    issue->add_option("OUT-DIR", cert_issue.out, "where ca.crt, host.crt and host.key go")->required();
    issue->add_option("--dns", cert_issue.dns_names, "further names");
    issue->add_option("--address", cert_issue.addresses, "IP addresses");
    issue->add_option("--days", cert_issue.valid_days, "valid for so many days")
        ->check(CLI::Range(1, 3650))
        ->capture_default_str();
    auto* show_it = command(*cert, "show", "describe a certificate",
                            "  remus cert show /etc/remus/pki/host.crt", cert_show);
    show_it->add_option("FILE", cert_show.file, "certificate")->capture_default_str();
  }

  void add_protection() {
    auto* p =
        command(app, "protect", "protect a running guest to another host",
                "  remus protect web1 --qmp /run/web1.qmp --to hostB\n"
                "  remus protect web1 --qmp /run/web1.qmp --to hostB --interval 50ms --bandwidth 100MiB/s\n"
                "  remus protect web1 --to hostB            (on a Xen host: the domain web1; or its number)\n"
                "  remus protect web1 --to hostA            (after a failover: its socket is known)\n"
                "  remus protect web1 --qmp /run/web1.qmp --to hostB --dry-run",
                protect);
    p->add_option("GUEST", protect.guest, "a name for the guest; on Xen the domain's name or number")
        ->required()
        ->check(guest_name());
    p->add_option("--to", protect.to, "the host that shall take over")->required()->check(host_name());
    p->add_option("--qmp", protect.qmp, "the guest's QMP socket (QEMU/KVM; a Xen guest needs none)");
    add_guest_options(*p, protect.options);
    auto* wait = p->add_flag("--wait", protect.wait, "return when the guest is protected (default)");
    p->add_flag("--no-wait", no_wait, "return when synchronization has begun")->excludes(wait);
    p->add_flag("--dry-run", protect.dry_run, "examine guest and peer, change nothing");

    auto* x =
        command(app, "xl-remus", "protect a Xen domain, in the words of `xl remus`",
                "  remus xl-remus -i 100 web1 hostB\n"
                "HOST is a host that Remus knows. What gives up a guarantee is refused, with a sentence.",
                xl_remus);
    x->add_option("DOMAIN", xl_remus.domain, "name or number")->required()->check(guest_name());
    x->add_option("HOST", xl_remus.host, "the host that shall take over")->required()->check(host_name());
    x->add_option("-i", xl_remus.interval_ms, "milliseconds between checkpoints")
        ->check(CLI::Range(1U, 60'000U))
        ->capture_default_str();
    x->add_flag("-u", xl_remus.no_compression, "no compression");
    x->add_flag("-e", xl_remus.no_wait, "return when synchronization has begun");
    x->add_flag("-F", xl_remus.unsafe, "allow -b, -n, -d, which are refused all the same");
    x->add_flag("-b", xl_remus.blackhole, "refused: protects nothing");
    x->add_flag("-n", xl_remus.no_network_buffer, "refused: output is always held");
    x->add_flag("-d", xl_remus.no_disk, "refused: name disks by remus protect --disk");
    x->add_flag("-c", xl_remus.colo, "refused: COLO");
    x->add_flag("-p", xl_remus.colo_proxy, "refused: COLO");
    x->add_option("-s", xl_remus.ssh, "refused: hosts speak by TLS");
    x->add_option("-N", xl_remus.netbuf_script, "refused: output is held without a script");

    auto* u = command(app, "unprotect", "end a guest's protection; the guest runs on",
                      "  remus unprotect web1\n"
                      "  remus unprotect web1 --force     (on the backup: its primary is not coming back)",
                      unprotect);
    u->add_option("GUEST", unprotect.guest, "the guest")->required();
    u->add_flag("--force", unprotect.force, "on the backup: discard the standby");

    auto* s = command(app, "set", "change how a protected guest is protected",
                      "  remus set web1 --interval 20ms --max-latency 5ms\n"
                      "  remus set web1 --bandwidth unlimited\n"
                      "Fixed while a guest is protected: compression, delta cache, output buffer, arbiter, "
                      "bridges, disks.",
                      set);
    s->add_option("GUEST", set.guest, "the guest")->required();
    add_guest_options(*s, set.options);

    auto* f = command(app, "failover", "activate a guest's standby on this host",
                      "  remus failover web1            asks, and refuses while the other host is heard\n"
                      "  remus failover web1 --force --yes",
                      failover);
    f->add_option("GUEST", failover.guest, "the guest")->required();
    f->add_flag("--force", failover.force, "even while the other host is heard, or from a stale image");
    f->add_flag("--yes,-y", failover.yes, "do not ask");

    auto* v = command(app, "verify", "compare the backup's memory with the guest's, page by page",
                      "  remus verify web1\n  remus verify web1 --disks\n"
                      "  remus verify web1 --max-pause 50ms   (sooner done, felt more)",
                      verify);
    v->add_flag("--disks", verify.disks, "replicated disks too, block by block");
    v->add_option("--max-pause", verify_pause,
                  "how long the guest may stand still for it at each checkpoint, 1ms to 2s (default: 10ms)")
        ->check(check([](const std::string& value) { return parse_duration(value); }, "DURATION"));
    v->add_option("GUEST", verify.guest, "the guest")->required();
  }

  void add_looking() {
    auto* s = command(app, "status", "guests and their protection",
                      "  remus status\n  remus status web1\n  remus status --json | jq '.guests[].state'\n"
                      "  remus status --watch",
                      show);
    s->add_option("GUEST", show.guest, "only this one, with everything known of it");
    s->add_flag("--watch,-w", show.watch, "again every second");
    auto* t =
        command(app, "top", "live table of all guests", "  remus top\n  remus top --interval 500ms", top);
    t->add_option("--interval,-d", top_interval, "time between two looks")
        ->check(check([](const std::string& value) { return parse_duration(value); }, "DURATION"))
        ->capture_default_str();
    t->add_option("--rounds,-n", top.rounds, "end after so many looks");
    auto* e = command(app, "events", "what happened",
                      "  remus events\n  remus events web1 --follow\n  remus events --json", events);
    e->add_option("GUEST", events.guest, "only of this one");
    e->add_flag("--follow,-f", events.follow, "go on as they happen");
    auto* d = command(app, "doctor", "check this host and say what to fix",
                      "  remus doctor\n  remus doctor --json", doctor);
    d->add_option("--config", doctor.config, "configuration to check when remusd does not run")
        ->capture_default_str();
  }

  Parser() {
    app.set_version_flag("--version", std::string{"remus "} + REMUS_VERSION);
    app.require_subcommand(1);
    app.fallthrough();
    app.footer(std::string{exit_codes});
    app.add_option("--socket", out.socket, "remusd's socket")->envname("REMUS_SOCKET")->capture_default_str();
    app.add_flag("--json", out.json, "print JSON");
    add_host();
    add_cert();
    add_protection();
    add_looking();
  }
};

}  // namespace

std::variant<Arguments, Exit> parse_arguments(int argc, const char* const* argv) {
  const auto parser = std::make_unique<Parser>();
  try {
    parser->app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream text;
    const bool good = error.get_exit_code() == 0;
    parser->app.exit(error, text, text);
    return Exit{good ? 0 : exit_status(Errc::invalid), text.str()};
  }
  if (auto* p = std::get_if<Protect>(&parser->out.command)) p->wait = !parser->no_wait;
  if (auto* v = std::get_if<Verify>(&parser->out.command); v != nullptr && !parser->verify_pause.empty())
    v->max_pause_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(
        1, milliseconds_of(parse_duration(parser->verify_pause).value_or(std::chrono::milliseconds{10}))));
  if (auto* t = std::get_if<Top>(&parser->out.command)) {
    const auto interval = parse_duration(parser->top_interval).value_or(std::chrono::seconds{1});
    t->interval_ms = static_cast<unsigned>(std::clamp<std::int64_t>(milliseconds_of(interval), 100, 60'000));
  }
  return parser->out;
}

int exit_status(Errc kind) noexcept {
  switch (kind) {
    case Errc::internal: return 1;
    case Errc::invalid: return 2;
    case Errc::not_found: return 3;
    case Errc::exists: return 4;
    case Errc::refused: return 5;
    case Errc::unsupported: return 6;
    case Errc::incompatible: return 7;
    case Errc::unreachable: return 8;
    case Errc::denied: return 9;
    case Errc::exhausted: return 10;
    case Errc::corrupt: return 11;
    case Errc::io: return 12;
    case Errc::timeout: return 13;
    case Errc::closed: return 14;
  }
  return 1;
}

}  // namespace remus::cli
