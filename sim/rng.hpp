// The simulator's only source of chance: splitmix64. The same seed gives the same run on every machine.
#pragma once

#include <cstdint>

namespace remus::sim {

using Ns = std::int64_t;  ///< simulated time and durations
constexpr Ns us(std::int64_t n) noexcept {
  return n * 1'000;
}
constexpr Ns ms(std::int64_t n) noexcept {
  return n * 1'000'000;
}

class Rng final {
 public:
  explicit Rng(std::uint64_t seed) noexcept : state_{seed ^ 0x5851f42d4c957f2dULL} {}

  std::uint64_t next() noexcept {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
  }
  /// 0 .. n-1; n > 0.
  std::uint64_t below(std::uint64_t n) noexcept { return next() % n; }
  /// low .. high, both included.
  std::int64_t range(std::int64_t low, std::int64_t high) noexcept {
    return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low) + 1));
  }
  bool chance(std::uint64_t permille) noexcept { return below(1000) < permille; }

 private:
  std::uint64_t state_;
};

}  // namespace remus::sim
