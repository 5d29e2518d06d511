// What a set of runs has been through. A simulator that never reaches a transition proves nothing about it,
// so the test suite demands that each of these is hit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/backup.hpp"
#include "engine/primary.hpp"

namespace remus::sim {

/// Rare moments, besides state transitions and actions.
enum class Probe : std::uint8_t {
  failover_in_time,          ///< a host died alone, and its guest ran on the other when it had to
  failover,                  ///< a standby was activated and its guest runs
  reprotected,               ///< protection came back after a failover
  second_failover,           ///< and another failover followed
  resumed_session,           ///< link back, session known
  resumed_beyond_committed,  ///< acknowledgements had been lost
  pipeline_full,
  ack_delayed,         ///< the image lagged, so an acknowledgement waited
  late_grant_ignored,  ///< granted after the claim was cancelled
  denied_primary,
  denied_backup,
  arbiter_unavailable,
  grant_answer_lost,
  primary_slept,
  backup_slept,
  slept_with_paused_guest,
  hung_capture,
  capture_failed,
  sync_failed,
  apply_failed,
  activation_failed,
  standby_lost,
  torn_epoch,
  half_open,  ///< a host died without a word on an open connection
  guest_crashed,
  guest_doomed,
  guest_stopped,
  unprotected,
  reprotected_by_admin,
  operator_failover,
  operator_refused,
  operator_forced,
  guard_crash_primary,
  guard_crash_backup,
  guard_crash_while_paused,
  guard_crash_while_activating,
  host_crash_primary,
  host_crash_backup,
  host_frozen,
  partition_total,
  crash_between_actions,
  backup_refused,
  stale_result_ignored,  ///< a capture's result arrived after its session was gone
  replicas_activated,    ///< disks as the product keeps them (real ones)
  replicas_recovered,    ///< found whole after a guard or host had died
  replicas_compared,     ///< some of what they held was left out of a copy, some was not
  guest_lost,            ///< more failures than protection can bear: runs nowhere
  count_
};

[[nodiscard]] std::string to_string(Probe probe);

struct Coverage {
  static constexpr std::size_t primary_states = 7;
  static constexpr std::size_t backup_states = 9;
  std::array<std::array<std::uint64_t, primary_states>, primary_states> primary{};
  std::array<std::array<std::uint64_t, backup_states>, backup_states> backup{};
  std::array<std::uint64_t, std::variant_size_v<engine::PrimaryAction>> primary_actions{};
  std::array<std::uint64_t, std::variant_size_v<engine::BackupAction>> backup_actions{};
  std::array<std::uint64_t, static_cast<std::size_t>(Probe::count_)> probes{};

  void hit(Probe probe) noexcept { ++probes[static_cast<std::size_t>(probe)]; }
  void add(const Coverage& other) noexcept;

  struct Line {
    std::string name{};
    std::uint64_t count{};
    bool required{};  ///< must be hit by some 10,000 seeds of each scenario together
  };
  [[nodiscard]] std::vector<Line> lines() const;
};

}  // namespace remus::sim
