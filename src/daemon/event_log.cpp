#include "daemon/event_log.hpp"

#include <spdlog/spdlog.h>

#include <utility>

namespace remus::daemon {
namespace {

bool of_guest(const nlohmann::json& event, std::string_view guest) {
  return guest.empty() || event["guest"].get_ref<const std::string&>() == guest;
}

}  // namespace

void EventLog::add(std::string guest, std::string kind, std::string text, nlohmann::json data) {
  const auto level = kind == "error" ? spdlog::level::warn : spdlog::level::info;
  spdlog::log(level, "{}{}{}", guest, guest.empty() ? "" : ": ", text);
  append({{"time", guard::utc_now()},
          {"guest", std::move(guest)},
          {"side", "daemon"},
          {"kind", std::move(kind)},
          {"text", std::move(text)},
          {"data", std::move(data)}});
}

void EventLog::add(const guard::GuardEvent& event) {
  append(guard::to_json(event));
}

void EventLog::append(nlohmann::json event) {
  event["sequence"] = ++sequence_;
  const std::string line = event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  std::erase_if(followers_, [&](const Follower& follower) {
    return of_guest(event, follower.guest) ? !follower.stream.write(line) : !follower.stream.open();
  });
  kept_.push_back(std::move(event));
  if (kept_.size() > kept_max) kept_.pop_front();
}

nlohmann::json EventLog::list(std::uint64_t after, std::string_view guest) const {
  auto out = nlohmann::json::array();
  for (const auto& event : kept_)
    if (event["sequence"].get<std::uint64_t>() > after && of_guest(event, guest)) out.push_back(event);
  return out;
}

void EventLog::follow(http::Stream stream, std::uint64_t after, std::string guest) {
  for (const auto& event : list(after, guest))
    if (!stream.write(event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n")) return;
  if (followers_.size() >= streams_max) followers_.pop_front();
  followers_.push_back({std::move(stream), std::move(guest)});
}

}  // namespace remus::daemon
