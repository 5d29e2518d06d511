// What has become of a domain whose activation did not end as it should.
//
// Once the whole stream is out, the restore runs the guest by itself, whether or not we are heard. A word
// that is late or lost therefore proves nothing, and the domain may be the guest's only copy, which speaks
// already: it is looked at before anything is done to it. One that still stands is destroyed only after
// nobody is left who could run it.
#pragma once

#include <functional>

#include "base/error.hpp"

namespace remus::hypervisor::xen {

enum class ActivationFate {
  runs,     ///< leave it alone: it is the guest
  never,    ///< it has not run, and nobody is left who would run it
  unknown,  ///< Xen does not tell: it may run, so it must not be touched
};

enum class Standing {
  gone,
  paused,
  runs,
};

/// `look` asks Xen; `end_restore` ends whoever might run the domain, and returns once he is gone.
[[nodiscard]] inline ActivationFate fate_of_activation(const std::function<Result<Standing>()>& look,
                                                       const std::function<Status()>& end_restore) {
  if (const auto now = look(); now && *now == Standing::runs) return ActivationFate::runs;
  if (const auto ended = end_restore(); !ended) return ActivationFate::unknown;
  const auto now = look();
  if (!now) return ActivationFate::unknown;
  return *now == Standing::runs ? ActivationFate::runs : ActivationFate::never;
}

}  // namespace remus::hypervisor::xen
