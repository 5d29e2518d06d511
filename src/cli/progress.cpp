#include "cli/progress.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <tuple>

namespace remus::cli {

void Progress::show(const std::string& for_terminal, const std::string& for_file) {
  if (quiet_) return;
  if (terminal_) {
    fmt::print("\r{}\x1b[K", for_terminal);
    last_ = for_terminal;
  } else if (for_file != last_) {
    fmt::print("{}\n", for_file);
    last_ = for_file;
  }
  std::ignore = std::fflush(stdout);
}

void Progress::end() {
  if (terminal_ && !last_.empty()) fmt::print("\n");
  last_.clear();
}

}  // namespace remus::cli
