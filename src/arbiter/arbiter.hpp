// Who may speak for a guest: each generation is granted to at most one host, ever.
//
// The backup asks before it activates, the primary before it goes on alone (releasing output no backup holds).
// Both ask for the generation after the one they know, so at most one of them gets it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace remus::arbiter {

enum class Verdict {
  granted,
  denied,       ///< another host holds this generation or a later one
  unavailable,  ///< no answer now: keep holding, ask again
};

enum class Purpose { activate, go_alone };

struct Claim {
  std::string guest{};
  std::string host{};
  std::uint64_t generation{};
  Purpose purpose{Purpose::activate};
};

class Arbiter {
 public:
  Arbiter() = default;
  Arbiter(const Arbiter&) = delete;
  Arbiter& operator=(const Arbiter&) = delete;
  virtual ~Arbiter() = default;

  /// Asks; `answer` is called exactly once, later, on the guard's main thread. Granted is durable before it is said.
  virtual void claim(Claim claim, std::function<void(Verdict)> answer) = 0;

  /// True when grants are exclusive across hosts even under partitions. False for fail-stop and manual: there the
  /// engine adds its own rules (leases, host reports).
  [[nodiscard]] virtual bool exclusive() const noexcept = 0;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
};

}  // namespace remus::arbiter
