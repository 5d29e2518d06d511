// A directory of the test's own, removed with all in it.
//
// In memory where that can be had: what is recorded is synchronized to its disk, and on a busy machine a test
// would do little but wait for that. The calls are the same; what a full or failing disk does has tests with
// disks of their own.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace remus::test {

class TempDir final {
 public:
  TempDir() {
    for (const char* place : {"/dev/shm", "/tmp"}) {
      std::string pattern = std::string{place} + "/remus-test-XXXXXX";
      if (::mkdtemp(pattern.data()) == nullptr) continue;
      path_ = pattern;
      return;
    }
    throw std::runtime_error{"mkdtemp"};
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace remus::test
