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
using Generation = std::uint64_t;  ///< raised by every activation and by every going alone; never falls
using Session = std::uint64_t;     ///< one synchronization and the epochs after it; random, never 0

/// What one protected guest is told by its administrator. Defaults are the product's.
struct Config {
  // pacing
  Duration interval{std::chrono::milliseconds{100}};    ///< an epoch's length when no output waits
  Duration max_latency{std::chrono::milliseconds{25}};  ///< output waits at most this long for its checkpoint
  Duration min_interval{std::chrono::milliseconds{2}};  ///< no two pauses closer than this
  double max_overhead{0.3};                             ///< at most this share of time paused
  // pipeline
  std::uint32_t max_epochs_in_flight{4};            ///< captured and not acknowledged
  std::uint64_t max_bytes_in_flight{512ULL << 20};  ///< captured and not acknowledged
  // failure detection
  Duration heartbeat{std::chrono::milliseconds{25}};
  Duration detect_min{std::chrono::milliseconds{250}};  ///< silence shorter than this is never a failure
  Duration detect_max{std::chrono::seconds{2}};         ///< silence longer than this always is
  Duration alone_after{std::chrono::seconds{3}};  ///< primary without backup asks to go alone; > detect_max
  // trying again
  Duration claim_retry{std::chrono::milliseconds{500}};  ///< the arbiter is asked again after `unavailable`
  Duration resync_min{
      std::chrono::milliseconds{100}};            ///< a failed session is followed by another after this,
  Duration resync_max{std::chrono::seconds{30}};  ///< doubling up to this
  // bounds of single steps
  Duration capture_max{std::chrono::seconds{5}};  ///< a capture that takes longer is abandoned (S6)
};

/// The arbiter's answer, as the engine knows it (the room arbiter/ lies above this one).
enum class Verdict { granted, denied, unavailable };

/// What one capture was and cost.
struct CaptureCost {
  std::uint64_t pages{};
  std::uint64_t bytes{};  ///< kept in memory until acknowledged
  Duration pause{};       ///< guest stopped → told to resume
};

/// Why a primary leaves its backup for good, said to the backup as its last word.
enum class Goodbye {
  unprotected,    ///< taken off protection: the guest runs on here, the image is void
  guest_stopped,  ///< the guest was shut down in good order: nothing is to be activated
  guest_crashed,  ///< the guest's process died under us: the backup should activate
};

enum class PrimaryState {
  idle,           ///< no session; guest runs unprotected, output passes
  synchronizing,  ///< synchronization under way, until epoch 0 is acknowledged; output passes until epoch 0's
                  ///< pause
  protected_,   ///< the backup holds a committed epoch; epochs are captured, sent, acknowledged; output held
  interrupted,  ///< no session in order (link lost, capture failed); output held, unacknowledged epochs kept
  alone,        ///< arbiter granted going alone; output passes; a new session is wanted
  fenced,       ///< another host runs a later generation: this guest must not speak again
  ended,        ///< protection was taken off, or the guest is gone
};

enum class BackupState {
  empty,          ///< no usable image
  synchronizing,  ///< image is being filled: cannot be activated
  standby,        ///< image holds a committed epoch and link is up
  suspecting,     ///< link lost or silent; may lead to activation
  stale,       ///< image is whole, but the primary may have gone on without us: only an operator may activate
  claiming,    ///< arbiter asked
  activating,  ///< granted; held epochs are applied, then the standby is started
  active,      ///< the guest runs here: this host is now its primary
  ended,       ///< protection was taken off, image discarded
};

[[nodiscard]] std::string_view to_string(PrimaryState state) noexcept;
[[nodiscard]] std::string_view to_string(BackupState state) noexcept;
[[nodiscard]] std::string_view to_string(Goodbye reason) noexcept;
[[nodiscard]] std::string_view to_string(Verdict verdict) noexcept;

/// What each side sends the other every Config::heartbeat. `echo` returns the newest `sent` received from the
/// peer. A backup's heartbeat that names a session says that its image belongs to that session and to no
/// earlier one.
struct Heartbeat {
  Session session{};  ///< 0 if none
  Generation generation{};
  Time sent{};  ///< sender's clock
  Time echo{};  ///< receiver's clock
};

/// What the backup says of itself when a link comes up.
struct BackupHello {
  Generation generation{};
  BackupState state{BackupState::empty};
  Session session{};  ///< the session its image belongs to; 0 if none
  Epoch held{};       ///< newest epoch it holds whole; valid when state is not empty/synchronizing
};

/// What a second path (the peer host's daemon) says about the primary's host and guest.
struct HostReport {
  bool guest_running{};     ///< the guest's process exists there
  bool guard_running{};     ///< the primary's guard exists there
  Generation generation{};  ///< generation that guest speaks for, as durably recorded there
  bool alone{};             ///< it runs unprotected: output may have gone out that no backup holds
};

}  // namespace remus::engine
