// When the next read of a copy may be issued, and how far it has come: what every DiskReader does alike.
#pragma once

#include <algorithm>
#include <chrono>
#include <span>
#include <thread>

#include "base/token_bucket.hpp"
#include "disk/disk_reader.hpp"

namespace remus::disk {

class CopyPace final {
 public:
  CopyPace(const CopyControl& control, std::uint64_t total_bytes) : control_{control} {
    progress_.total_bytes = total_bytes;
  }

  /// Waits until `bytes` may be read. Looks again now and then: the rate may have changed, or somebody wants the copy ended.
  /// `settle` is called before it sleeps: nothing is to be under way meanwhile. Errors: closed (asked to stop), those of settle.
  template <typename Settle>
  Status wait(std::uint64_t bytes, Settle&& settle) {
    constexpr TokenBucket::Duration step = std::chrono::milliseconds{50};
    constexpr TokenBucket::Duration short_step = std::chrono::milliseconds{2};
    while (!control_.stop.stop_requested()) {
      const auto now = std::chrono::steady_clock::now();
      if (const std::uint64_t rate = control_.bytes_per_s; rate != bucket_.rate_bytes_per_s())
        bucket_.set_rate(rate, now);
      const auto wait = bucket_.wait(now);
      const bool may_read = !control_.may_read || control_.may_read();
      if (may_read && wait == TokenBucket::Duration::zero()) {
        bucket_.take(bytes);
        return {};
      }
      if (Status settled = settle(); !settled) return settled;
      std::this_thread::sleep_for(may_read ? std::min(wait, step) : short_step);
    }
    return stopped();
  }
  [[nodiscard]] Status may_go_on() const { return control_.stop.stop_requested() ? stopped() : Status{}; }

  void passed(std::uint64_t bytes) {
    progress_.done_bytes += bytes;
    if (control_.progress) control_.progress(progress_);
  }
  void read(std::uint64_t bytes) {
    progress_.read_bytes += bytes;
    passed(bytes);
  }

 private:
  static Status stopped() { return fail(Errc::closed, "copying the disk was ended"); }

  const CopyControl& control_;
  TokenBucket bucket_{control_.bytes_per_s, std::chrono::steady_clock::now()};
  CopyProgress progress_{};
};

/// Allocated, but never written or cleared: costs the log and the link nothing. `data` is not empty.
[[nodiscard]] inline bool all_zero(std::span<const std::byte> data) {
  return data.front() == std::byte{0} && std::ranges::equal(data.first(data.size() - 1), data.subspan(1));
}

}  // namespace remus::disk
