#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <variant>

#include "cli/arguments.hpp"
#include "cli/run.hpp"

int main(int argc, char** argv) {
  using namespace remus::cli;
  std::signal(SIGPIPE, SIG_DFL);  // NOLINT(cert-err33-c): cannot fail for these arguments
  try {
    const auto parsed = parse_arguments(argc, argv);
    if (const auto* exit = std::get_if<Exit>(&parsed)) {
      fmt::print(exit->status == 0 ? stdout : stderr, "{}", exit->text);
      return exit->status;
    }
    return run(std::get<Arguments>(parsed));
  } catch (const std::exception& problem) {
    fmt::print(stderr, "remus: a fault of ours: {}\n", problem.what());
    return 1;
  }
}
