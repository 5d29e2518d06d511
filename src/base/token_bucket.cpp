#include "base/token_bucket.hpp"

#include <algorithm>
#include <cmath>

namespace remus {
namespace {
constexpr double burst_s = 0.02;  ///< what may have filled while nothing was sent
constexpr double burst_bytes_min = 64.0 * 1024;
}  // namespace

TokenBucket::TokenBucket(std::uint64_t rate_bytes_per_s, Time now) noexcept
    : rate_{rate_bytes_per_s}, tokens_{static_cast<double>(burst_bytes())}, filled_at_{now} {}

std::uint64_t TokenBucket::burst_bytes() const noexcept {
  return static_cast<std::uint64_t>(std::max(static_cast<double>(rate_) * burst_s, burst_bytes_min));
}

TokenBucket::Duration TokenBucket::wait(Time now) noexcept {
  if (rate_ == 0) return Duration::zero();
  refill(now);
  if (tokens_ >= 0.0) return Duration::zero();
  return std::chrono::ceil<Duration>(std::chrono::duration<double>{-tokens_ / static_cast<double>(rate_)});
}

void TokenBucket::take(std::uint64_t bytes) noexcept {
  if (rate_ != 0) tokens_ -= static_cast<double>(bytes);
}

void TokenBucket::set_rate(std::uint64_t rate_bytes_per_s, Time now) noexcept {
  refill(now);
  rate_ = rate_bytes_per_s;
  tokens_ = rate_ == 0 ? 0.0 : std::min(tokens_, static_cast<double>(burst_bytes()));
}

void TokenBucket::refill(Time now) noexcept {
  if (now <= filled_at_) return;
  const std::chrono::duration<double> passed = now - filled_at_;
  filled_at_ = now;
  tokens_ =
      std::min(tokens_ + passed.count() * static_cast<double>(rate_), static_cast<double>(burst_bytes()));
}

}  // namespace remus
