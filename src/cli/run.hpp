// Carrying out what the command line asked for; the returned number is the process's exit status.
#pragma once

#include "cli/arguments.hpp"

namespace remus::cli {

[[nodiscard]] int run(const Arguments& arguments);

}  // namespace remus::cli
