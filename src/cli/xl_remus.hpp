// `remus xl-remus`: the words of Xen's own `xl remus`, for scripts that know those. Each is honoured, or refused with a
// sentence; none is silently ignored, since several of them give up a guarantee.
#pragma once

#include <optional>
#include <string>

#include "base/error.hpp"
#include "cli/arguments.hpp"

namespace remus::cli {

/// The same as `remus protect` would be given. Errors: invalid, refused.
[[nodiscard]] Result<Protect> protect_of(const XlRemus& words);

}  // namespace remus::cli
