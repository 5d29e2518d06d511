// Events per second over the last few seconds.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>

#include "engine/types.hpp"

namespace remus::guard {

/// Keeps a sum's value at past times; per_second() is its growth over the window. At most one point per 100 ms is kept.
class Rate final {
 public:
  static constexpr engine::Duration window = std::chrono::seconds{5};

  void sum(engine::Time now, double value) {
    if (points_.empty() || now - points_.back().first >= std::chrono::milliseconds{100})
      points_.emplace_back(now, value);
    last_ = value;
    while (points_.size() > 2 && now - points_[1].first >= window) points_.pop_front();
  }
  [[nodiscard]] double per_second(engine::Time now) const {
    if (points_.empty()) return 0;
    const auto span = std::chrono::duration<double>(now - points_.front().first).count();
    return span <= 0 ? 0 : (last_ - points_.front().second) / span;
  }

 private:
  std::deque<std::pair<engine::Time, double>> points_{};
  double last_{0};
};

}  // namespace remus::guard
