#include "engine/pacing.hpp"

#include <algorithm>

namespace remus::engine {

namespace {
constexpr double gain = 0.2;  ///< weight of the newest epoch in the averages

Duration scaled(Duration duration, double factor) noexcept {
  return Duration{static_cast<Duration::rep>(static_cast<double>(duration.count()) * factor)};
}
}  // namespace

void Pacing::resumed(Time now, Duration pause) noexcept {
  // One freak pause (our process was stopped within it) says little about the next one: what is learned from
  // a single epoch is bounded. If pauses really have become long, a few epochs are enough to know.
  pause = std::min(pause, 2 * expected_pause_ + config_->max_latency);
  const Duration epoch = std::max(now - resumed_, pause);
  if (epoch > Duration::zero()) {
    const double share = static_cast<double>(pause.count()) / static_cast<double>(epoch.count());
    overhead_ += gain * (share - overhead_);
  }
  resumed_ = now;
  expected_pause_ += scaled(pause - expected_pause_, expected_pause_ == Duration::zero() ? 1.0 : gain);
  waiting_since_.reset();
}

void Pacing::output_waiting(Time now) noexcept {
  if (!waiting_since_) waiting_since_ = now;
}

void Pacing::reset(Time now) noexcept {
  resumed_ = now;
  expected_pause_ = {};
  waiting_since_.reset();
  overhead_ = 0;
}

Time Pacing::next() const noexcept {
  // The share the next pause may have so that the average stays within max_overhead. A guest that was spared
  // for a while may spend what it saved; one that was pressed hard gets longer to run.
  const double limit = std::clamp(config_->max_overhead, 0.01, 1.0);
  const double share = std::clamp((limit - (1 - gain) * overhead_) / gain, limit / 2, 1.0);
  const Time budget = resumed_ + scaled(expected_pause_, (1 - share) / share);
  const Time by_interval = resumed_ + config_->interval;
  if (!waiting_since_) return std::max(by_interval, budget);
  const Time soonest = resumed_ + config_->min_interval;
  const Time latest = std::min(*waiting_since_ + config_->max_latency, by_interval);
  return std::max(std::min(soonest, latest), budget);
}

}  // namespace remus::engine
