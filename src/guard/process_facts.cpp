#include "guard/process_facts.hpp"

#include <unistd.h>

#include <cstdio>

namespace remus::guard {

std::uint64_t resident_bytes() noexcept {
  unsigned long long size = 0;
  unsigned long long resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(file, "%llu %llu", &size, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace remus::guard
