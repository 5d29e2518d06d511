// The engine's time in the product: this host's monotonic clock.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "engine/types.hpp"

namespace remus::guard {

[[nodiscard]] inline engine::Time engine_now() noexcept {
  return engine::Time{
      std::chrono::duration_cast<engine::Duration>(std::chrono::steady_clock::now().time_since_epoch())};
}

[[nodiscard]] inline std::chrono::steady_clock::time_point to_steady(engine::Time time) noexcept {
  return std::chrono::steady_clock::time_point{
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(time.time_since_epoch())};
}

/// Whole milliseconds for a person to read; never negative.
[[nodiscard]] inline std::uint64_t milliseconds(engine::Duration duration) noexcept {
  const auto whole = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, whole));
}

}  // namespace remus::guard
