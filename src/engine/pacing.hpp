// When does an epoch end?
//
// A guest that nobody waits for needs few checkpoints; one whose answer lies in the output buffer needs one
// at once. So an epoch ends when its interval is over OR output waits. Three limits pull the other way: no
// two pauses closer than min_interval, at most max_overhead of the time paused (an average over recent
// epochs), and yet output never waits longer than max_latency for its checkpoint unless that would break
// max_overhead.
//
//   resume ├──min_interval──┤ earliest, if output waits and the budget allows
//          ├───── budget: pause / max_overhead since last pause ─────┤ earliest otherwise
//          ├──────────────────── interval ─────────────────────────────────┤ at the latest, output or not
#pragma once

#include <optional>

#include "engine/types.hpp"

namespace remus::engine {

class Pacing final {
 public:
  explicit Pacing(const Config& config) noexcept : config_{&config} {}

  /// A pause ended at `now` having cost `pause`: a new epoch runs.
  void resumed(Time now, Duration pause) noexcept;
  /// The running epoch has output waiting (the first call counts).
  void output_waiting(Time now) noexcept;
  /// Forgets averages and waiting output: a new session.
  void reset(Time now) noexcept;

  /// When the running epoch is to end, given what is known at this time. May lie in the past.
  [[nodiscard]] Time next() const noexcept;
  /// Share of time recently spent paused, 0..1.
  [[nodiscard]] double overhead() const noexcept { return overhead_; }
  [[nodiscard]] std::optional<Time> waiting_since() const noexcept { return waiting_since_; }

 private:
  const Config* config_;
  Time resumed_{};
  Duration expected_pause_{};  ///< EWMA
  std::optional<Time> waiting_since_{};
  double overhead_{};  ///< EWMA of pause / (pause + run)
};

}  // namespace remus::engine
