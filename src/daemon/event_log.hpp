// What happened on this host, newest kept: for `remus events`, and the journal.
//
// Events come from two sources, the daemon itself and its guards, and a guard is heard only when it is
// polled. So what a guard noticed first may arrive last. Kept events therefore stand in order of time, and a
// reader that follows is told of an event only when it has settled: by then all that happened before it has
// been heard.
//
//   daemon ──add────────────┐
//   guards ──add (≤ 1 poll  ├─▶ | … by time … | not settled yet |──settle()──▶ followers, in order, each once
//            late)──────────┘
//
// `sequence` is the order of arrival: "everything after N" leaves out nothing that came late.
//
// Bounded: the last 1000 events. A reader that is slower than the events loses its stream (http/server.hpp),
// not the daemon its memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "guard/api.hpp"
#include "http/server.hpp"

namespace remus::daemon {

class EventLog final {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::size_t kept_max = 1000;
  static constexpr std::size_t streams_max = 64;
  /// More than one round of asking the guards. What a guard can tell only later comes late, with its own
  /// time.
  static constexpr std::chrono::milliseconds settling{500};

  /// An event of the daemon itself; `guest` may be empty.
  void add(std::string guest, std::string kind, std::string text, nlohmann::json data = nullptr);
  /// An event a guard reported.
  void add(const guard::GuardEvent& event);

  /// Kept events with a sequence above `after`, of one guest if not empty, in order of time.
  [[nodiscard]] nlohmann::json list(std::uint64_t after, std::string_view guest) const;
  /// Sends kept events, then new ones as they settle.
  void follow(http::Stream stream, std::uint64_t after, std::string guest);
  /// Tells followers what has settled by `now`; called a few times a second.
  void settle(Time now = std::chrono::steady_clock::now());

 private:
  struct Entry {
    nlohmann::json event;
    Time arrived;
    bool told{};
  };
  struct Follower {
    http::Stream stream;
    std::string guest;
  };
  void append(nlohmann::json event);
  void tell(Entry& entry);

  std::uint64_t sequence_{};
  std::deque<Entry> kept_{};  ///< by time; what is not told yet has sunk to the end, but for what came late
  std::list<Follower> followers_{};
};

}  // namespace remus::daemon
