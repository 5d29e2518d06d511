// Asks the peer host's daemon, on every path to it, how the guest fares there.
//
// The backup's second pair of eyes: a broken link with a living guest must not look like a dead host. The
// primary uses it too, once, before it goes on alone: another host may run this guest already.
//
// An answer that is no report (not enrolled, not known there, no usable certificate here) counts as a sign of
// life that says no more.
//
//   GET /v1/peer/guests/<name>/report  →  {guest_running, guard_running, generation, alone}
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/types.hpp"
#include "guard/spec.hpp"
#include "http/client.hpp"

namespace remus::guard {

/// How often the backup asks: several times within detect_min, for one missed report must not tip the scales. Not
/// more, for each is an exchange over TLS on every path between the hosts.
[[nodiscard]] std::chrono::milliseconds report_interval(engine::Duration detect_min);

class HostWatch final {
 public:
  using OnReport = std::function<void(const engine::HostReport&)>;

  HostWatch(boost::asio::io_context& io, const GuardSpec& spec, const std::shared_ptr<link::Pki>& pki);
  HostWatch(const HostWatch&) = delete;
  HostWatch& operator=(const HostWatch&) = delete;

  /// Asks on each path every `interval`; a path whose question is still open is not asked again meanwhile.
  void start(std::chrono::milliseconds interval, OnReport on_report);
  /// From the next question on. Takes effect within the interval of before.
  void every(std::chrono::milliseconds interval) noexcept { interval_ = interval; }
  /// Asks once on every path. `done` is called when all have answered or failed, with what came.
  void ask_once(std::chrono::milliseconds timeout, std::function<void(std::vector<engine::HostReport>)> done);

 private:
  void poll();
  void ask(std::size_t path, std::chrono::milliseconds timeout,
           std::function<void(Result<engine::HostReport>)> answer);

  std::string target_;
  std::vector<std::unique_ptr<http::AsyncClient>> paths_{};
  boost::asio::steady_timer timer_;
  std::chrono::milliseconds interval_{};
  OnReport on_report_{};
};

}  // namespace remus::guard
