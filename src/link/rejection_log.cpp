#include "link/rejection_log.hpp"

#include <fmt/format.h>

namespace remus::link {

std::optional<std::string> RejectionLog::note(const std::string& remote, const Error& error,
                                              Clock::time_point now) {
  // The port differs each time, in the reason as well.
  std::string reason = error.what;
  if (const auto at = reason.find(remote); at != std::string::npos) reason.erase(at, remote.size());
  const std::pair key{remote.substr(0, remote.rfind(':')), std::move(reason)};
  auto found = entries_.find(key);
  if (found == entries_.end() && entries_.size() >= tracked_max)
    std::erase_if(entries_, [now](const auto& entry) { return now - entry.second.told >= quiet; });
  std::uint64_t silent = 0;
  if (found != entries_.end()) {
    if (now - found->second.told < quiet) {
      ++found->second.silent;
      return std::nullopt;
    }
    silent = found->second.silent;
    found->second = {now, 0};
  } else if (entries_.size() >= tracked_max) {
    ++untracked_;
    return std::nullopt;
  } else {
    entries_.emplace(key, Entry{now, 0});
  }
  auto line = fmt::format("connection from {} rejected: {}", remote, error.text());
  if (silent != 0) line += fmt::format(" (and {} like it before)", silent);
  if (const auto others = std::exchange(untracked_, 0); others != 0)
    line += fmt::format(" (and {} from others)", others);
  return line;
}

}  // namespace remus::link
