// Assertions that stay on in release builds.
//
// REMUS_ASSERT guards the safety invariants (S1..S6 of docs/architecture.md) and the preconditions that protect
// them. A guard that finds one broken must not go on: it ends itself, and its guest runs on (contract 5).
#pragma once

#include <string_view>

namespace remus {

/// Called instead of ending the process, when set: the simulator and tests use it to catch a violation.
using AssertHandler = void (*)(std::string_view invariant, std::string_view text, const char* file, int line);
void set_assert_handler(AssertHandler handler) noexcept;

/// Logs and aborts, unless a handler throws.
[[noreturn]] void assertion_failed(std::string_view invariant, std::string_view text, const char* file,
                                   int line);

}  // namespace remus

// `invariant` is "S1".."S6", or "pre" for a precondition. `text` says in words what must hold.
#define REMUS_ASSERT(invariant, condition, text)                          \
  do {                                                                    \
    if (!(condition)) [[unlikely]]                                        \
      ::remus::assertion_failed((invariant), (text), __FILE__, __LINE__); \
  } while (false)
