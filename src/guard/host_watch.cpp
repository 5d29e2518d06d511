#include "guard/host_watch.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.hpp"
#include "guard/api.hpp"

namespace remus::guard {
namespace {

constexpr unsigned reports_within_detect_min = 5;
constexpr std::chrono::milliseconds report_interval_min{50};
constexpr std::chrono::milliseconds report_interval_max{500};

Result<engine::HostReport> parse(const http::Response& response) {
  if (response.status >= 400) return std::unexpected(http::error_of(response));
  const auto json = parse_json(response.body);
  return report_from_json(json);
}

/// Whoever takes our connection and turns us away is alive, though he tells nothing. A certificate that has
/// expired, on either side, or a daemon that does not know the guest must not make a living host look like a
/// dead one.
bool shows_life(Errc kind) noexcept {
  return kind != Errc::unreachable && kind != Errc::timeout && kind != Errc::io;
}

}  // namespace

std::chrono::milliseconds report_interval(engine::Duration detect_min) {
  const auto fitting =
      std::chrono::duration_cast<std::chrono::milliseconds>(detect_min / reports_within_detect_min);
  return std::clamp(fitting, report_interval_min, report_interval_max);
}

HostWatch::HostWatch(boost::asio::io_context& io, const GuardSpec& spec,
                     const std::shared_ptr<link::Pki>& pki)
    : target_{"/v1/peer/guests/" + http::url_encode(spec.guest) + "/report"}, timer_{io} {
  for (const auto& endpoint : spec.peer_daemons)
    paths_.push_back(std::make_unique<http::AsyncClient>(
        io, http::TlsEndpoint{{endpoint.host, endpoint.port}, spec.peer, pki}, 2));
}

void HostWatch::ask(std::size_t path, std::chrono::milliseconds timeout,
                    std::function<void(Result<engine::HostReport>)> answer) {
  paths_[path]->request({"GET", target_, {}}, timeout,
                        [answer = std::move(answer)](Result<http::Response> response) {
                          answer(response ? parse(*response) : std::unexpected(response.error()));
                        });
}

void HostWatch::start(std::chrono::milliseconds interval, OnReport on_report) {
  interval_ = interval;
  on_report_ = std::move(on_report);
  poll();
}

void HostWatch::poll() {
  for (std::size_t i = 0; i < paths_.size(); ++i) {
    if (paths_[i]->pending() != 0) continue;
    ask(i, std::max(interval_ * 5, std::chrono::milliseconds{500}),
        [this](Result<engine::HostReport> report) {
          if (report)
            on_report_(*report);
          else if (shows_life(report.error().kind))
            on_report_({.guest_running = true, .guard_running = true, .generation = 0, .alone = false});
        });
  }
  timer_.expires_after(interval_);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) poll();
  });
}

void HostWatch::ask_once(std::chrono::milliseconds timeout,
                         std::function<void(std::vector<engine::HostReport>)> done) {
  struct Round {
    std::size_t open{};
    std::vector<engine::HostReport> reports{};
  };
  const auto round = std::make_shared<Round>(Round{.open = paths_.size() + 1});
  const auto one_less = [round, done = std::move(done)] {
    if (--round->open == 0) done(std::move(round->reports));
  };
  for (std::size_t i = 0; i < paths_.size(); ++i)
    ask(i, timeout, [round, one_less](Result<engine::HostReport> report) {
      if (report) round->reports.push_back(*report);
      one_less();
    });
  one_less();
}

}  // namespace remus::guard
