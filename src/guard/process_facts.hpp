// Small facts about processes from /proc.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace remus::guard {

/// Resident memory of this process, shared memory included; 0 if unknown.
[[nodiscard]] std::uint64_t resident_bytes() noexcept;

}  // namespace remus::guard
