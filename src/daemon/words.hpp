// A guest's state in plain words, the same in API, CLI and metrics.
//
// The administrator's question is "is it protected now?". So there is one word that answers it, and a
// sentence that says why not; anything the daemon only believes because it heard it some time ago is said to
// be old.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "daemon/registry.hpp"
#include "guard/api.hpp"

namespace remus::daemon {

/// What the daemon knows of a guest at one moment.
struct GuestFacts {
  Role role{Role::primary};
  std::string peer{};
  std::string doing{};  ///< an operation under way: "protecting", ...; else empty
  bool guard_exists{};
  std::optional<bool> guest_exists{};          ///< nothing: not known here
  bool superseded{};                           ///< another host runs a later generation
  std::optional<guard::GuardStatus> status{};  ///< the guard's last
  std::chrono::milliseconds status_age{};
  std::optional<Error> last_error{};  ///< the daemon's own
};

struct Words {
  std::string state{};  ///< protected, synchronizing, unprotected, interrupted, standby, stale, gone, ...
                        ///< (openapi.yaml)
  bool is_protected{};  ///< if the host it runs on died now, it would go on
  std::string text{};   ///< "protected", "synchronizing 43 %", "UNPROTECTED: link to hostB lost 3 s ago"
};

[[nodiscard]] Words words_for(const GuestFacts& facts);

/// "850 ms", "3 s", "4 min", "2 h 10 min", "3 days"
[[nodiscard]] std::string rough_duration(std::chrono::milliseconds duration);

}  // namespace remus::daemon
