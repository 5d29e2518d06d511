// p50 and p99 of the newest samples, for what `remus status` and `top` show.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace remus::guard {

/// The newest `window` samples; older ones are forgotten. Adding is O(1), asking sorts a copy.
class Quantiles final {
 public:
  static constexpr std::size_t window = 1024;

  void add(std::uint64_t sample) noexcept {
    samples_[next_] = sample;
    next_ = (next_ + 1) % window;
    count_ = std::min(count_ + 1, window);
  }
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] std::uint64_t last() const noexcept {
    return count_ == 0 ? 0 : samples_[(next_ + window - 1) % window];
  }
  /// `q` in 0..1; 0 when there is no sample.
  [[nodiscard]] std::uint64_t at(double q) const {
    if (count_ == 0) return 0;
    std::vector<std::uint64_t> sorted(samples_.begin(),
                                      samples_.begin() + static_cast<std::ptrdiff_t>(count_));
    const auto rank = std::min(count_ - 1, static_cast<std::size_t>(q * static_cast<double>(count_)));
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(rank), sorted.end());
    return sorted[rank];
  }
  [[nodiscard]] double mean() const noexcept {
    if (count_ == 0) return 0;
    double sum = 0;
    for (std::size_t i = 0; i < count_; ++i) sum += static_cast<double>(samples_[i]);
    return sum / static_cast<double>(count_);
  }

 private:
  std::array<std::uint64_t, window> samples_{};
  std::size_t next_{0};
  std::size_t count_{0};
};

}  // namespace remus::guard
