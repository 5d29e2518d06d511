#include "cli/run.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "cli/progress.hpp"
#include "cli/render.hpp"
#include "cli/session.hpp"
#include "cli/xl_remus.hpp"
#include "daemon/json_fields.hpp"

namespace remus::cli {
namespace {

using daemon::number_at;
using nlohmann::json;
using std::chrono::seconds;

int run_host(Session& session, const Command& command) {
  if (std::holds_alternative<HostList>(command)) {
    auto answer = session.ask("GET", "/v1/peers", nullptr, seconds{60});
    if (!answer) return session.failed(answer.error());
    session.print(*answer, render_peers(answer->value("peers", json::array()), session.style()));
    return 0;
  }
  Result<json> host = json{};
  if (const auto* add = std::get_if<HostAdd>(&command)) {
    json body = json::object();
    body["name"] = add->name;
    body["addresses"] = add->addresses;
    host = session.ask("POST", "/v1/peers", body);
  } else if (const auto* remove = std::get_if<HostRemove>(&command)) {
    host = session.ask("DELETE", "/v1/peers/" + http::url_encode(remove->name));
  } else {
    host = session.ask("GET", "/v1/host");
  }
  if (!host) return session.failed(host.error());
  session.print(*host, render_host(*host));
  return 0;
}

int run_unprotect(Session& session, const Unprotect& words) {
  auto answer =
      session.ask("DELETE", guest_path(words.guest, words.force ? "?force=true" : ""), nullptr, seconds{120});
  if (!answer) return session.failed(answer.error());
  for (const auto& warning : answer->value("warnings", json::array()))
    if (warning.is_string()) fmt::print(stderr, "{}\n", warning.get<std::string>());
  session.print(*answer, fmt::format("{} is not protected any more\n", words.guest));
  return 0;
}

int run_set(Session& session, const Set& words) {
  if (words.options.empty())
    return session.failed(Error{Errc::invalid, "nothing to change was named", "see: remus set --help"});
  auto answer = session.ask("PATCH", guest_path(words.guest), words.options);
  if (!answer) return session.failed(answer.error());
  session.print(*answer, fmt::format("{}: changed\n", words.guest));
  return 0;
}

/// Shows how far a verification has come, until it is told to stop.
void watch_verification(Session session, const std::string& guest, const std::stop_token& stop) {
  Progress progress{true, false};
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock{mutex};
  while (!never.wait_for(lock, stop, Progress::interval, [] { return false; }) && !stop.stop_requested()) {
    const auto now = session.ask("GET", guest_path(guest));
    if (!now || !now->contains("guard")) continue;
    const json& guard = (*now)["guard"];
    if (!guard.is_object() || !guard.contains("verification")) continue;
    const auto done = number_at(guard["verification"], "done_bytes");
    const auto total = number_at(guard["verification"], "total_bytes");
    if (total == 0) continue;
    const auto bar = fmt::format("comparing {}  {} of {}",
                                 progress_bar(static_cast<double>(done) / static_cast<double>(total), 30),
                                 human_bytes(done), human_bytes(total));
    progress.show(bar, bar);
  }
  progress.end();
}

int run_verify(Session& session, const Verify& words) {
  json body{{"disks", words.disks}};
  if (words.max_pause_ms != 0) body["max_pause_ms"] = words.max_pause_ms;
  std::jthread watch;
  if (session.terminal() && !session.json())
    watch = std::jthread{[&words, beside = session.beside()](const std::stop_token& stop) mutable {
      watch_verification(std::move(beside), words.guest, stop);
    }};
  auto report = session.ask("POST", guest_path(words.guest, "/verify"), body, seconds{12 * 3600 + 10});
  watch = {};  // its line is done before ours begins
  if (!report) return session.failed(report.error());
  session.print(*report, render_verify(words.guest, *report, session.style()));
  return number_at(*report, "pages_different") + number_at(*report, "blocks_different") == 0
             ? 0
             : exit_not_healthy;
}

}  // namespace

int run_failover(Session& session, const Failover& words) {
  if (!words.yes) {
    if (::isatty(STDIN_FILENO) != 1)
      return session.failed(
          Error{Errc::invalid, "failover asks before it acts, and there is no terminal", "add --yes"});
    fmt::print(stderr, "Activate {} on this host{}? If it still runs elsewhere it is stopped there. [y/N] ",
               words.guest, words.force ? ", by force" : "");
    std::string answer;
    std::getline(std::cin, answer);
    if (answer != "y" && answer != "yes") {
      fmt::print(stderr, "nothing was done\n");
      return exit_status(Errc::refused);
    }
  }
  json body = json::object();
  body["force"] = words.force;
  auto report = session.ask("POST", guest_path(words.guest, "/failover"), body, seconds{70});
  if (!report) return session.failed(report.error());
  session.print(*report, fmt::format("{} runs here now, from epoch {}, activated in {}; it is UNPROTECTED:\n"
                                     "protect it again with: remus protect {} --to HOST\n",
                                     words.guest, number_at(*report, "epoch"),
                                     human_ms(number_at(*report, "activation_ms")), words.guest));
  return 0;
}

int run(const Arguments& arguments) {
  Session session{arguments};
  const auto& command = arguments.command;
  if (const auto* words = std::get_if<Protect>(&command)) return run_protect(session, *words);
  if (const auto* words = std::get_if<XlRemus>(&command)) {
    const auto protect = protect_of(*words);
    return protect ? run_protect(session, *protect) : session.failed(protect.error());
  }
  if (const auto* words = std::get_if<Unprotect>(&command)) return run_unprotect(session, *words);
  if (const auto* words = std::get_if<Set>(&command)) return run_set(session, *words);
  if (const auto* words = std::get_if<Show>(&command)) return run_status(session, *words);
  if (const auto* words = std::get_if<Top>(&command)) return run_top(session, *words);
  if (const auto* words = std::get_if<Events>(&command)) return run_events(session, *words);
  if (const auto* words = std::get_if<Failover>(&command)) return run_failover(session, *words);
  if (const auto* words = std::get_if<Verify>(&command)) return run_verify(session, *words);
  if (const auto* words = std::get_if<Doctor>(&command)) return run_doctor(session, *words);
  const bool certificate = std::holds_alternative<CertInit>(command) ||
                           std::holds_alternative<CertIssue>(command) ||
                           std::holds_alternative<CertShow>(command);
  return certificate ? run_certificates(session, command) : run_host(session, command);
}

}  // namespace remus::cli
