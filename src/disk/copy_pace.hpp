// How fast a disk is copied in the background: a bucket that fills at the rate allowed and is emptied by what is read.
// Pure: time is an argument. The rate may be changed by any thread while the copy runs.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace remus::disk {

class CopyPace final {
 public:
  using Clock = std::chrono::steady_clock;
  /// So much may be read at once after a rest: more than a chunk, less than a guest would notice.
  static constexpr std::chrono::milliseconds burst{50};

  /// 0: as fast as it goes.
  explicit CopyPace(std::uint64_t bytes_per_s = 0) noexcept : rate_{bytes_per_s} {}

  void set_rate(std::uint64_t bytes_per_s) noexcept { rate_ = bytes_per_s; }

  /// How long to wait from `now` on before `bytes` are read. Called by one thread.
  [[nodiscard]] Clock::duration take(std::uint64_t bytes, Clock::time_point now) noexcept {
    const std::uint64_t rate = rate_;
    if (rate == 0) {
      free_at_ = now;
      return Clock::duration::zero();
    }
    free_at_ = std::max(free_at_, now - burst);
    const auto wait = std::max(free_at_ - now, Clock::duration::zero());
    // Long double: a request of 4 GiB in nanoseconds at 1 byte/s still fits.
    const auto cost = static_cast<long double>(bytes) / static_cast<long double>(rate);
    free_at_ += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<long double>{cost});
    return wait;
  }

 private:
  std::atomic<std::uint64_t> rate_;
  Clock::time_point free_at_{};
};

}  // namespace remus::disk
