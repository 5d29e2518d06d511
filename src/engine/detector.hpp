// Is the peer gone, or only slow?
//
// A fixed timeout is either too nervous on a busy machine or too slow on a quiet one. This detector learns
// the peer's rhythm: the mean of the gaps between its messages and their mean deviation (Jacobson's
// estimator, as TCP does for round trips), and calls silence a failure only when it is far outside of what
// was seen:
//
//        heard   heard     heard                       deadline
//   ───────●───────●─────────●──────────────────────────────┼──────▶ time
//            mean ± deviation └── mean·2 + 8·deviation ──────┘   clamped to [min, max]
//
// A detector that slept itself (its process was stopped or starved) has heard nothing, yet the peer may have
// spoken all the while. tick() notices that it comes later than asked and does not count the time asleep as
// the peer's silence.
#pragma once

#include <cstdint>

#include "engine/types.hpp"

namespace remus::engine {

/// Graces after a sleep before silence counts for good: without a bound, starvation would blind the detector.
inline constexpr std::uint32_t max_graces = 3;

class FailureDetector final {
 public:
  struct Bounds {
    Duration min{};    ///< silence shorter than this is never a failure
    Duration max{};    ///< silence longer than this always is; also used until the rhythm is known
    Duration grace{};  ///< after a sleep at least this much time is left to read what waits
  };

  FailureDetector(Bounds bounds, Time now) noexcept : bounds_{bounds}, since_{now} {}

  /// Other bounds from now on; what is known of the rhythm stays.
  void bound(Bounds bounds) noexcept { bounds_ = bounds; }
  /// A message from the peer.
  void heard(Time now) noexcept;
  /// Silence counts from now on, without this being an arrival (the link came up; another witness spoke).
  void touch(Time now) noexcept;
  /// Forgets the rhythm as well: a new connection, a new peer.
  void reset(Time now) noexcept;
  /// To be called at promised times: `asked` is when the owner wanted to be woken. Being later than `slack`
  /// after it is a sleep: the time asleep is forgiven. Returns the time forgiven (zero: awake all the time).
  Duration tick(Time now, Time asked, Duration slack) noexcept;

  /// When silence becomes a failure if nothing is heard until then.
  [[nodiscard]] Time deadline() const noexcept { return since_ + timeout(); }
  [[nodiscard]] bool silent(Time now) const noexcept { return now >= deadline(); }
  [[nodiscard]] Duration timeout() const noexcept;
  /// False until a few messages have come: the timeout is then Bounds::max.
  [[nodiscard]] bool knows_rhythm() const noexcept;
  /// Since when silence is counted: the last message, or later.
  [[nodiscard]] Time since() const noexcept { return since_; }

 private:
  Bounds bounds_{};
  Time since_{};         ///< start of the silence
  Time last_arrival_{};  ///< valid when arrivals_ > 0
  double mean_ns_{};
  double deviation_ns_{};
  std::uint32_t arrivals_{};  ///< since reset(); saturates
  std::uint32_t
      graces_{};  ///< extra graces given since something was heard; bounded, or starvation would blind us
};

/// What a side's configuration says of it.
[[nodiscard]] inline FailureDetector::Bounds detection(const Config& config) noexcept {
  return {config.detect_min, config.detect_max, 2 * config.heartbeat};
}

}  // namespace remus::engine
