// What happened on this host, newest kept: for `remus events`, and the journal.
//
// Bounded: the last 1000 events. A reader that is slower than the events loses its stream (http/server.hpp),
// not the daemon its memory.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "guard/api.hpp"
#include "http/server.hpp"

namespace remus::daemon {

class EventLog final {
 public:
  static constexpr std::size_t kept_max = 1000;
  static constexpr std::size_t streams_max = 64;

  /// An event of the daemon itself; `guest` may be empty.
  void add(std::string guest, std::string kind, std::string text, nlohmann::json data = nullptr);
  /// An event a guard reported.
  void add(const guard::GuardEvent& event);

  /// Kept events with a sequence above `after`, of one guest if not empty.
  [[nodiscard]] nlohmann::json list(std::uint64_t after, std::string_view guest) const;
  /// Sends kept events, then new ones as they happen.
  void follow(http::Stream stream, std::uint64_t after, std::string guest);

 private:
  struct Follower {
    http::Stream stream;
    std::string guest;
  };
  void append(nlohmann::json event);

  std::uint64_t sequence_{};
  std::deque<nlohmann::json> kept_{};
  std::list<Follower> followers_{};
};

}  // namespace remus::daemon
