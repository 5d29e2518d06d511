// The newest events of this guard, numbered, for `remus events` and the daemon; each also goes to the log.
#pragma once

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "guard/api.hpp"

namespace remus::guard {

class EventLog final {
 public:
  static constexpr std::size_t kept_max = 256;

  EventLog(std::string guest, Side side) : guest_{std::move(guest)}, side_{side} {}

  void add(std::string kind, std::string text, nlohmann::json data = nlohmann::json::object()) {
    if (kind == "error")
      spdlog::error("{}", text);
    else
      spdlog::info("{}: {}", kind, text);
    events_.push_back({.sequence = ++sequence_,
                       .time = utc_now(),
                       .guest = guest_,
                       .side = side_,
                       .kind = std::move(kind),
                       .text = std::move(text),
                       .data = std::move(data)});
    if (events_.size() > kept_max) events_.pop_front();
  }
  /// `from` may be `to`: then only the reason is new.
  void state(std::string_view from, std::string_view to, const std::string& reason) {
    const auto change = from == to ? std::string{to} : fmt::format("{} → {}", from, to);
    add("state", fmt::format("{}: {}", change, reason), {{"from", from}, {"to", to}, {"reason", reason}});
  }
  void error(const Error& error) { add("error", error.text(), to_json(error)); }

  [[nodiscard]] std::uint64_t newest() const noexcept { return sequence_; }
  [[nodiscard]] nlohmann::json after(std::uint64_t sequence) const {
    auto list = nlohmann::json::array();
    for (const auto& event : events_)
      if (event.sequence > sequence) list.push_back(to_json(event));
    return {{"events", std::move(list)}};
  }

 private:
  std::string guest_;
  Side side_;
  std::uint64_t sequence_{0};
  std::deque<GuardEvent> events_{};
};

}  // namespace remus::guard
