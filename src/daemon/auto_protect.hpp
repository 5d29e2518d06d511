// Protection that a domain's own configuration asks for (hypervisor/xen/protection_wish.hpp): its words, and
// the memory of what has been done about which domain.
//
// A wish is heeded once in a domain's life. Who ends the protection of a running domain by `remus unprotect`
// means it, and is not corrected by us; a domain that is started again is another one.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace remus::daemon {

struct AutoProtect {
  std::string to{};
  nlohmann::json options{};  ///< of the admin API
};

/// "to=hostB,max-latency=25ms", separated by commas or line ends, # to the end of a line is a comment. The
/// keys are the options of `remus protect` without dashes; `disk` (without target) and `bridge` may come several
/// times. Errors: invalid, with the word.
[[nodiscard]] Result<AutoProtect> parse_auto_protect(std::string_view words);

/// A domain of this host, in one of its lives.
struct DomainLifeKey {
  std::uint32_t domid{};
  std::string uuid{};
  auto operator<=>(const DomainLifeKey&) const = default;
};

/// Which domains' wishes need no more attention, and when the others are due. The first is kept in a file
/// that lives as long as the host runs, so that a restart of the daemon does not protect again what its
/// administrator unprotected.
class HeededWishes final {
 public:
  using Clock = std::chrono::steady_clock;

  explicit HeededWishes(std::filesystem::path file) : file_{std::move(file)} {}
  /// Nothing there, or not readable as ours: nothing was heeded.
  void load();

  [[nodiscard]] bool due(const DomainLifeKey& domain, Clock::time_point now) const;
  /// Needs no more attention. Errors: io (it counts as heeded until the daemon's end all the same).
  Status done(const DomainLifeKey& domain);
  /// Later again, ever more seldom: after 5 s first, every 5 min at last.
  void failed(const DomainLifeKey& domain, Clock::time_point now);
  /// Forgets domains that are no more.
  void keep_only(const std::vector<DomainLifeKey>& living);

 private:
  struct State {
    bool done{};
    unsigned failures{};
    Clock::time_point next_try{};
  };
  [[nodiscard]] Status save() const;

  std::filesystem::path file_;
  std::map<DomainLifeKey, State> domains_{};
};

}  // namespace remus::daemon
