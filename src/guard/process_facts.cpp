#include "guard/process_facts.hpp"

#include <unistd.h>

#include <fstream>

namespace remus::guard {

std::uint64_t resident_bytes() noexcept {
  std::ifstream in{"/proc/self/statm"};
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  if (!(in >> size >> resident)) return 0;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace remus::guard
