// A bandwidth limit: a bucket that fills at `rate` and is emptied by what is sent.
//
// A frame may go as soon as the bucket is not in debt, and then puts it in debt by its whole size: so frames
// larger than the bucket pass, and the long-run rate is exact. What fills while nothing is sent is bounded by
// `burst`. Time is an argument.
#pragma once

#include <chrono>
#include <cstdint>

namespace remus {

class TokenBucket final {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::nanoseconds;

  /// `rate_bytes_per_s` 0: no limit.
  TokenBucket(std::uint64_t rate_bytes_per_s, Time now) noexcept;

  /// Zero: send now. Else: not before this long.
  [[nodiscard]] Duration wait(Time now) noexcept;
  void take(std::uint64_t bytes) noexcept;
  /// A debt is kept: what was sent was sent. Rate 0 forgives it.
  void set_rate(std::uint64_t rate_bytes_per_s, Time now) noexcept;
  [[nodiscard]] std::uint64_t rate_bytes_per_s() const noexcept { return rate_; }
  [[nodiscard]] std::uint64_t burst_bytes() const noexcept;

 private:
  void refill(Time now) noexcept;

  std::uint64_t rate_;
  double tokens_;
  Time filled_at_;
};

}  // namespace remus
