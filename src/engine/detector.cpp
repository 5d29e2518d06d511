#include "engine/detector.hpp"

#include <algorithm>
#include <cmath>

namespace remus::engine {

namespace {
// Jacobson's gains (RFC 6298): the mean follows slowly, the deviation a little faster.
constexpr double mean_gain = 1.0 / 8;
constexpr double deviation_gain = 1.0 / 4;
constexpr double mean_factor = 2.0;
constexpr double deviation_factor = 8.0;
constexpr std::uint32_t arrivals_to_trust = 4;
}  // namespace

void FailureDetector::heard(Time now) noexcept {
  if (arrivals_ > 0) {
    const auto gap_ns = static_cast<double>(std::max(Duration::zero(), now - last_arrival_).count());
    if (arrivals_ == 1) {
      mean_ns_ = gap_ns;
      deviation_ns_ = gap_ns / 2;
    } else {
      deviation_ns_ += deviation_gain * (std::abs(gap_ns - mean_ns_) - deviation_ns_);
      mean_ns_ += mean_gain * (gap_ns - mean_ns_);
    }
  }
  arrivals_ = std::min(arrivals_ + 1, arrivals_to_trust);
  last_arrival_ = now;
  graces_ = 0;
  touch(now);
}

void FailureDetector::touch(Time now) noexcept {
  since_ = std::max(since_, now);
}

void FailureDetector::reset(Time now) noexcept {
  arrivals_ = 0;
  graces_ = 0;
  mean_ns_ = deviation_ns_ = 0;
  since_ = now;
}

Duration FailureDetector::tick(Time now, Time asked, Duration slack) noexcept {
  const Duration late = now - asked;
  if (late <= slack) return Duration::zero();
  since_ = std::min(since_ + late, now);
  last_arrival_ = std::min(last_arrival_ + late, now);
  if (graces_ < max_graces && deadline() < now + bounds_.grace) {
    ++graces_;
    since_ = now + bounds_.grace - timeout();
  }
  return late;
}

bool FailureDetector::knows_rhythm() const noexcept {
  return arrivals_ >= arrivals_to_trust;
}

Duration FailureDetector::timeout() const noexcept {
  if (!knows_rhythm()) return bounds_.max;
  const double ns = mean_factor * mean_ns_ + deviation_factor * deviation_ns_;
  if (ns >= static_cast<double>(bounds_.max.count())) return bounds_.max;
  return std::max(bounds_.min, Duration{static_cast<Duration::rep>(ns)});
}

}  // namespace remus::engine
