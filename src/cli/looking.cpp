// The commands that look: status, top, events, doctor.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>
#include <tuple>

#include "cli/render.hpp"
#include "cli/session.hpp"
#include "daemon/config.hpp"
#include "daemon/doctor.hpp"

namespace remus::cli {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Set by SIGINT and SIGTERM, so that the terminal is put right before the end.
volatile std::sig_atomic_t interrupted = 0;
void note_interrupt(int) {
  interrupted = 1;
}

/// Draws whole screens on a terminal (alternate screen, cursor hidden), pages one after the other elsewhere.
class Screen final {
 public:
  explicit Screen(bool full) : full_{full} {
    struct sigaction action {};
    action.sa_handler = note_interrupt;
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    if (full_) fmt::print("\x1b[?1049h\x1b[?25l");
  }
  ~Screen() {
    if (full_) fmt::print("\x1b[?25h\x1b[?1049l");
    std::ignore = std::fflush(stdout);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void draw(const std::string& text) const {
    if (!full_) {
      fmt::print("{}\n", text);
    } else {
      std::string page = "\x1b[H";
      for (const char c : text) {
        if (c == '\n') page += "\x1b[K";
        page += c;
      }
      fmt::print("{}\x1b[J", page);
    }
    std::ignore = std::fflush(stdout);
  }

  [[nodiscard]] static std::pair<std::size_t, std::size_t> size() {
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return {0, 0};
    return {size.ws_col, size.ws_row};
  }

 private:
  bool full_;
};

bool wait(milliseconds duration) {
  const auto until = std::chrono::steady_clock::now() + duration;
  while (interrupted == 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(milliseconds{20});
  return interrupted == 0;
}

Result<json> guests_of(Session& session) {
  auto answer = session.ask("GET", "/v1/guests");
  if (!answer) return answer;
  return answer->value("guests", json::array());
}

Result<std::string> status_text(Session& session, const Show& words) {
  if (!words.guest.empty()) {
    auto guest = session.ask("GET", guest_path(words.guest));
    if (!guest) return std::unexpected(guest.error());
    return session.json() ? guest->dump(2) + "\n" : render_guest(*guest, session.style());
  }
  auto guests = guests_of(session);
  if (!guests) return std::unexpected(guests.error());
  if (!session.json()) return render_status(*guests, session.style());
  json document = json::object();
  document["guests"] = *guests;
  return document.dump(2) + "\n";
}

}  // namespace

int run_status(Session& session, const Show& words) {
  if (!words.watch) {
    auto text = status_text(session, words);
    if (!text) return session.failed(text.error());
    fmt::print("{}", *text);
    return 0;
  }
  const Screen screen{session.style().colours() && !session.json()};
  do {
    auto text = status_text(session, words);
    screen.draw(text ? *text : text.error().text());
  } while (wait(seconds{1}));
  return 0;
}

int run_top(Session& session, const Top& words) {
  TopView view;
  const Screen screen{session.style().colours() && !session.json()};
  for (unsigned round = 1;; ++round) {
    auto host = session.ask("GET", "/v1/host");
    auto guests = host ? guests_of(session) : host;
    if (!guests && round == 1) return session.failed(guests.error());
    if (!guests) {
      screen.draw(guests.error().text() + "\n");  // remusd is being restarted, perhaps: it will be back
    } else if (session.json()) {
      fmt::print("{}\n", guests->dump());
      std::ignore = std::fflush(stdout);
    } else {
      const auto [width, height] = Screen::size();
      screen.draw(view.render(*host, *guests, width, height, session.style()));
    }
    if (words.rounds != 0 && round >= words.rounds) return 0;
    if (!wait(milliseconds{words.interval_ms})) return 0;
  }
}

int run_events(Session& session, const Events& words) {
  std::string target = fmt::format("/v1/events?follow={}", words.follow ? "true" : "false");
  if (!words.guest.empty()) target += "&guest=" + http::url_encode(words.guest);
  const auto show = [&](const json& event) {
    fmt::print("{}", session.json() ? event.dump() + "\n" : render_event(event, session.style()));
    std::ignore = std::fflush(stdout);
  };
  if (!words.follow) {
    auto answer = session.ask("GET", target);
    if (!answer) return session.failed(answer.error());
    for (const auto& event : answer->value("events", json::array())) show(event);
    return 0;
  }
  const http::Call call{"GET", target, {}};
  auto ended = session.client().stream(call, std::chrono::hours{24}, [&](std::string_view line) {
    const auto event = json::parse(line, nullptr, false);
    if (!event.is_discarded()) show(event);
    return true;
  });
  return ended ? 0 : session.failed(ended.error());
}

int run_doctor(Session& session, const Doctor& words) {
  auto report = session.ask("GET", "/v1/doctor", nullptr, seconds{60});
  if (!report) {
    // No daemon to ask: look ourselves.
    if (report.error().kind != Errc::unreachable && report.error().kind != Errc::not_found)
      return session.failed(report.error());
    auto config = daemon::load_config(words.config);
    std::vector<daemon::doctor::Check> checks;
    if (!config)
      checks.push_back({"config", daemon::doctor::Verdict::fail, config.error().what, config.error().fix});
    const auto rest =
        daemon::doctor::examine(config ? *config : daemon::Config{}, daemon::doctor::real_probes(), false);
    checks.insert(checks.end(), rest.begin(), rest.end());
    report = daemon::doctor::to_json(checks);
  }
  session.print(*report, render_doctor(*report, session.style()));
  return report->value("healthy", false) ? 0 : exit_not_healthy;
}

}  // namespace remus::cli
