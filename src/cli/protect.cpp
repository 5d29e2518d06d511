// `remus protect`, with the synchronization shown as it goes.
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <thread>

#include "cli/progress.hpp"
#include "cli/render.hpp"
#include "cli/session.hpp"
#include "daemon/json_fields.hpp"
#include "hypervisor/xen/presence.hpp"

namespace remus::cli {
namespace {

using daemon::number_at;
using daemon::text_at;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

/// Neither progress nor protection for so long: the user is told, the daemon goes on trying.
constexpr seconds patience{60};

void show(Progress& progress, const json& guest) {
  const auto& guard = guest.contains("guard") ? guest["guard"] : json{};
  const auto sync = guard.is_object() && guard.contains("sync") ? guard["sync"] : json{};
  const auto total = number_at(sync, "total_bytes");
  const auto text = text_at(guest, "text");
  if (total == 0) return progress.show(text, text);
  const auto done = number_at(sync, "done_bytes");
  const double share = static_cast<double>(done) / static_cast<double>(total);
  std::string eta;
  if (sync.contains("eta_s") && sync["eta_s"].is_number())
    eta = fmt::format(", {} to go", human_ms(static_cast<std::uint64_t>(sync["eta_s"].get<double>() * 1000)));
  const auto bar = fmt::format("synchronizing {}  {} of {}{}", progress_bar(share, 30), human_bytes(done),
                               human_bytes(total), eta);
  // Without a terminal: one line each ten percent.
  progress.show(bar, fmt::format("synchronizing {} %", static_cast<int>(share * 10) * 10));
}

int wait_until_protected(Session& session, const std::string& name) {
  Progress progress{session.terminal(), session.json()};
  auto hopeful_until = steady_clock::now() + patience;
  std::uint64_t done_before = 0;
  for (;;) {
    auto guest = session.ask("GET", guest_path(name));
    if (!guest) {
      progress.end();
      return session.failed(guest.error());
    }
    show(progress, *guest);
    if (guest->value("protected", false)) {
      progress.end();
      session.print(*guest, fmt::format("{} is protected to {}\n", name, text_at(*guest, "peer")));
      return 0;
    }
    const json& guard = guest->contains("guard") ? (*guest)["guard"] : *guest;
    const auto done =
        guard.is_object() && guard.contains("sync") ? number_at(guard["sync"], "done_bytes") : 0;
    if (done != done_before) hopeful_until = steady_clock::now() + patience;
    done_before = done;
    if (steady_clock::now() > hopeful_until) {
      progress.end();
      fmt::print(stderr,
                 "remus: {} is not protected yet: {}\n       remusd goes on trying; see: remus status {}\n",
                 name, text_at(*guest, "text"), name);
      return exit_not_healthy;
    }
    std::this_thread::sleep_for(Progress::interval);
  }
}

/// On a Xen host a guest may be named by its domain's number, as for xl.
Result<std::string> guest_of_domain(const std::string& word) {
  std::uint32_t domid{};
  const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), domid);
  if (code != std::errc{} || end != word.data() + word.size() || !hypervisor::xen::on_xen_host()) return word;
  return hypervisor::xen::domain_name(domid);
}

}  // namespace

int run_protect(Session& session, const Protect& asked) {
  Protect words = asked;
  if (words.qmp.empty()) {
    auto name = guest_of_domain(words.guest);
    if (!name) return session.failed(name.error());
    words.guest = std::move(*name);
  }
  json body = json::object();
  body["name"] = words.guest;
  body["to"] = words.to;
  if (!words.qmp.empty()) body["qmp"] = std::filesystem::absolute(words.qmp).string();
  if (!words.options.empty()) body["options"] = words.options;
  if (words.dry_run) body["dry_run"] = true;
  auto answer = session.ask("POST", "/v1/guests", body, seconds{150});
  if (!answer) return session.failed(answer.error());
  if (words.dry_run) {
    session.print(*answer, render_dry_run(words.guest, *answer));
    return 0;
  }
  const auto guard = answer->contains("guard") ? (*answer)["guard"] : json{};
  if (!session.json() && guard.is_object() && guard.contains("arbiter"))
    if (!text_at(guard["arbiter"], "warning").empty())
      fmt::print(stderr, "arbiter {}\n", text_of_arbiter(guard["arbiter"], session.style()));
  if (words.wait) return wait_until_protected(session, words.guest);
  session.print(*answer, fmt::format("{} is being protected to {}\n", words.guest, words.to));
  return 0;
}

}  // namespace remus::cli
