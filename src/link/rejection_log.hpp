// What to log of connections that were turned away: a scanner, or a host with a wrong certificate that tries
// again and again, must be seen in the log and must not fill it.
//
// Each address and reason gets a line at most every `quiet`; the next line says how many it stands
// for. At most `tracked_max` are told apart: beyond, nothing is logged but the count.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/error.hpp"

namespace remus::link {

class RejectionLog final {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds quiet{10};
  static constexpr std::size_t tracked_max = 64;

  /// `remote` as "address:port". Returns the line to log; nothing if this one is to be kept silent.
  [[nodiscard]] std::optional<std::string> note(const std::string& remote, const Error& error,
                                                Clock::time_point now);

 private:
  struct Entry {
    Clock::time_point told{};
    std::uint64_t silent{};  ///< since then
  };
  std::map<std::pair<std::string, std::string>, Entry> entries_{};
  std::uint64_t untracked_{};
};

}  // namespace remus::link
