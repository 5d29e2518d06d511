#include "base/assert.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace remus {
namespace {
std::atomic<AssertHandler> installed{nullptr};
}

void set_assert_handler(AssertHandler handler) noexcept {
  installed.store(handler);
}

void assertion_failed(std::string_view invariant, std::string_view text, const char* file, int line) {
  if (AssertHandler handler = installed.load()) handler(invariant, text, file, line);
  // Should that fail there is nobody left to tell.
  static_cast<void>(std::fprintf(stderr, "%s:%d: invariant %.*s broken: %.*s\n", file, line,
                                 static_cast<int>(invariant.size()), invariant.data(),
                                 static_cast<int>(text.size()), text.data()));
  std::abort();
}

}  // namespace remus
