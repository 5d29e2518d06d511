// One line that says how far long work has come, where somebody may look at it: rewritten on a terminal, else a line
// whenever its short form changes.
#pragma once

#include <chrono>
#include <string>

namespace remus::cli {

class Progress final {
 public:
  /// Between two looks.
  static constexpr std::chrono::milliseconds interval{500};

  Progress(bool terminal, bool quiet) : terminal_{terminal}, quiet_{quiet} {}

  void show(const std::string& for_terminal, const std::string& for_file);
  /// What is printed next begins on a line of its own.
  void end();

 private:
  bool terminal_;
  bool quiet_;
  std::string last_{};
};

}  // namespace remus::cli
