#include "daemon/event_log.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace remus::daemon {
namespace {

bool of_guest(const nlohmann::json& event, std::string_view guest) {
  return guest.empty() || event["guest"].get_ref<const std::string&>() == guest;
}

std::string_view time_of(const nlohmann::json& event) {
  return event["time"].get_ref<const std::string&>();  // UTC, all of one form: order of text is order of time
}

std::string line_of(const nlohmann::json& event) {
  return event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
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
  // Behind all of the same time: one source's events keep their order. Late ones are rarely far from the end.
  auto place = kept_.end();
  while (place != kept_.begin() && time_of(std::prev(place)->event) > time_of(event)) --place;
  kept_.insert(place, {std::move(event), std::chrono::steady_clock::now(), false});
  if (kept_.size() <= kept_max) return;
  tell(kept_.front());
  kept_.pop_front();
}

void EventLog::tell(Entry& entry) {
  if (std::exchange(entry.told, true)) return;
  const std::string line = line_of(entry.event);
  std::erase_if(followers_, [&](const Follower& follower) {
    return of_guest(entry.event, follower.guest) ? !follower.stream.write(line) : !follower.stream.open();
  });
}

void EventLog::settle(Time now) {
  // What stands before a settled event happened earlier: it goes out with it.
  const auto last = std::ranges::find_if(kept_.rbegin(), kept_.rend(), [now](const Entry& entry) {
    return !entry.told && entry.arrived + settling <= now;
  });
  for (auto entry = kept_.begin(); entry != last.base(); ++entry) tell(*entry);
}

nlohmann::json EventLog::list(std::uint64_t after, std::string_view guest) const {
  auto out = nlohmann::json::array();
  for (const auto& [event, arrived, told] : kept_)
    if (event["sequence"].get<std::uint64_t>() > after && of_guest(event, guest)) out.push_back(event);
  return out;
}

void EventLog::follow(http::Stream stream, std::uint64_t after, std::string guest) {
  for (const auto& [event, arrived, told] : kept_)
    if (told && event["sequence"].get<std::uint64_t>() > after && of_guest(event, guest) &&
        !stream.write(line_of(event)))
      return;
  if (followers_.size() >= streams_max) followers_.pop_front();
  followers_.push_back({std::move(stream), std::move(guest)});
}

}  // namespace remus::daemon
