// Words of the engine: plain values, no I/O.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "checkpoint/layout.hpp"

namespace remus::engine {

/// Monotonic time of one host, injected. Never compared between hosts (except as an echo of one's own).
struct EngineClock {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<EngineClock>;
  static constexpr bool is_steady = true;
};
using Time = EngineClock::time_point;
using Duration = EngineClock::duration;

using checkpoint::Epoch;
using Generation = std::uint64_t;   ///< raised by every activation and by every going alone; never falls
using Session = std::uint64_t;      ///< one synchronization and the epochs after it; random, never 0

/// What one protected guest is told by its administrator. Defaults are the product's.
struct Config {
  // pacing
  Duration interval{std::chrono::milliseconds{100}};         ///< an epoch's length when no output waits
  Duration max_latency{std::chrono::milliseconds{25}};       ///< output waits at most this long for its checkpoint
  Duration min_interval{std::chrono::milliseconds{2}};       ///< no two pauses closer than this
  double max_overhead{0.3};                                  ///< at most this share of time paused
  // pipeline
  std::uint32_t max_epochs_in_flight{4};                     ///< captured and not acknowledged
  std::uint64_t max_bytes_in_flight{512ULL << 20};           ///< captured and not acknowledged
  // failure detection
  Duration heartbeat{std::chrono::milliseconds{25}};
  Duration detect_min{std::chrono::milliseconds{250}};       ///< silence shorter than this is never a failure
  Duration detect_max{std::chrono::seconds{2}};              ///< silence longer than this always is
  Duration alone_after{std::chrono::seconds{3}};             ///< primary without backup asks to go alone; > detect_max
};

enum class PrimaryState {
  idle,          ///< no session; guest runs unprotected, output passes
  synchronizing, ///< full or incremental synchronization under way; output passes until epoch 0
  protected_,    ///< epochs are captured, sent, acknowledged; output held
  interrupted,   ///< link lost; output held, unacknowledged epochs kept for resending
  alone,         ///< arbiter granted going alone; output passes; a new session is wanted
  fenced,        ///< another host runs a later generation: this guest must not speak again
  ended,         ///< protection was taken off, or the guest is gone
};

enum class BackupState {
  empty,         ///< no usable image
  synchronizing, ///< image is being filled: cannot be activated
  standby,       ///< image holds a committed epoch and link is up
  suspecting,    ///< link lost or silent; may lead to activation
  stale,         ///< image is whole, but the primary may have gone on without us: only an operator may activate
  claiming,      ///< arbiter asked
  activating,    ///< granted; held epochs are applied, then the standby is started
  active,        ///< the guest runs here: this host is now its primary
  ended,         ///< protection was taken off, image discarded
};

[[nodiscard]] std::string_view to_string(PrimaryState state) noexcept;
[[nodiscard]] std::string_view to_string(BackupState state) noexcept;

/// What each side sends the other every Config::heartbeat. `echo` returns the newest `sent` received from the peer.
struct Heartbeat {
  Session session{};
  Generation generation{};
  Time sent{};                ///< sender's clock
  Time echo{};                ///< receiver's clock
};

/// What the backup says of itself when a link comes up.
struct BackupHello {
  Generation generation{};
  BackupState state{BackupState::empty};
  Session session{};          ///< the session its image belongs to; 0 if none
  Epoch held{};               ///< newest epoch it holds whole; valid when state is not empty/synchronizing
};

/// What a second path (the peer host's daemon) says about the primary's host and guest.
struct HostReport {
  bool guest_running{};       ///< the guest's process exists there
  bool guard_running{};       ///< the primary's guard exists there
  Generation generation{};    ///< generation that guest speaks for, as durably recorded there
  bool alone{};               ///< it runs unprotected: output may have gone out that no backup holds
};

}  // namespace remus::engine
