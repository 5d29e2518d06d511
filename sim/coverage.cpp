#include "coverage.hpp"

#include <fmt/format.h>

namespace remus::sim {

namespace {

using P = engine::PrimaryState;
using B = engine::BackupState;

constexpr std::pair<P, P> primary_required[] = {
    {P::idle, P::synchronizing},        {P::idle, P::ended},
    {P::synchronizing, P::protected_},  {P::synchronizing, P::interrupted},
    {P::synchronizing, P::idle},        {P::synchronizing, P::alone},
    {P::synchronizing, P::ended},       {P::protected_, P::interrupted},
    {P::protected_, P::ended},          {P::interrupted, P::protected_},
    {P::interrupted, P::synchronizing}, {P::interrupted, P::alone},
    {P::interrupted, P::fenced},        {P::interrupted, P::ended},
    {P::alone, P::synchronizing},       {P::alone, P::ended},
    {P::interrupted, P::idle},
};

constexpr std::pair<B, B> backup_required[] = {
    {B::empty, B::synchronizing},   {B::synchronizing, B::empty}, {B::synchronizing, B::standby},
    {B::standby, B::synchronizing}, {B::standby, B::suspecting},  {B::standby, B::stale},
    {B::standby, B::empty},         {B::standby, B::ended},       {B::suspecting, B::standby},
    {B::suspecting, B::stale},      {B::suspecting, B::claiming}, {B::suspecting, B::synchronizing},
    {B::stale, B::standby},         {B::stale, B::synchronizing}, {B::stale, B::claiming},
    {B::claiming, B::activating},   {B::claiming, B::stale},      {B::claiming, B::suspecting},
    {B::activating, B::active},     {B::activating, B::stale},    {B::synchronizing, B::ended},
};

constexpr std::string_view primary_action_names[] = {
    "BeginSession", "Synchronize",    "Capture",    "Resend", "Release",   "SendHeartbeat", "ClaimAlone",
    "GoAlone",      "AbandonSession", "PassOutput", "Fence",  "StopGuest", "SplitBrain",    "DropLink",
    "End",          "StateChanged"};
constexpr std::string_view backup_action_names[] = {"SendAck",        "SendHeartbeat",   "Apply",
                                                    "DiscardTorn",    "ClaimActivation", "Activate",
                                                    "DiscardStandby", "DropLink",        "StateChanged"};
static_assert(std::size(primary_action_names) == std::variant_size_v<engine::PrimaryAction>);
static_assert(std::size(backup_action_names) == std::variant_size_v<engine::BackupAction>);

constexpr std::string_view probe_names[] = {"failover_in_time",
                                            "failover",
                                            "reprotected",
                                            "second_failover",
                                            "resumed_session",
                                            "resumed_beyond_committed",
                                            "pipeline_full",
                                            "ack_delayed",
                                            "late_grant_ignored",
                                            "denied_primary",
                                            "denied_backup",
                                            "arbiter_unavailable",
                                            "grant_answer_lost",
                                            "primary_slept",
                                            "backup_slept",
                                            "slept_with_paused_guest",
                                            "hung_capture",
                                            "capture_failed",
                                            "sync_failed",
                                            "apply_failed",
                                            "activation_failed",
                                            "standby_lost",
                                            "torn_epoch",
                                            "half_open",
                                            "guest_crashed",
                                            "guest_doomed",
                                            "guest_stopped",
                                            "unprotected",
                                            "reprotected_by_admin",
                                            "operator_failover",
                                            "operator_refused",
                                            "operator_forced",
                                            "guard_crash_primary",
                                            "guard_crash_backup",
                                            "guard_crash_while_paused",
                                            "guard_crash_while_activating",
                                            "host_crash_primary",
                                            "host_crash_backup",
                                            "host_frozen",
                                            "partition_total",
                                            "crash_between_actions",
                                            "backup_refused",
                                            "stale_result_ignored",
                                            "replicas_activated",
                                            "replicas_recovered",
                                            "replicas_compared",
                                            "guest_lost"};
static_assert(std::size(probe_names) == static_cast<std::size_t>(Probe::count_));

/// Two hosts of one generation cannot be reached while the rules hold; the rest must.
bool action_required(std::string_view name) {
  return name != "SplitBrain";
}

}  // namespace

std::string to_string(Probe probe) {
  return std::string{probe_names[static_cast<std::size_t>(probe)]};
}

void Coverage::add(const Coverage& other) noexcept {
  const auto sum = [](auto& to, const auto& from) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  };
  for (std::size_t i = 0; i < primary_states; ++i) sum(primary[i], other.primary[i]);
  for (std::size_t i = 0; i < backup_states; ++i) sum(backup[i], other.backup[i]);
  sum(primary_actions, other.primary_actions);
  sum(backup_actions, other.backup_actions);
  sum(probes, other.probes);
}

std::vector<Coverage::Line> Coverage::lines() const {
  std::vector<Line> result;
  const auto transitions = [&](std::string_view role, const auto& matrix, const auto& required, auto state) {
    using State = decltype(state);
    for (std::size_t from = 0; from < matrix.size(); ++from) {
      for (std::size_t to = 0; to < matrix.size(); ++to) {
        bool must = false;
        for (const auto& [f, t] : required) {
          must = must || (static_cast<std::size_t>(f) == from && static_cast<std::size_t>(t) == to);
        }
        if (!must && matrix[from][to] == 0) continue;
        result.push_back({fmt::format("{} {} -> {}", role, engine::to_string(static_cast<State>(from)),
                                      engine::to_string(static_cast<State>(to))),
                          matrix[from][to], must});
      }
    }
  };
  transitions("primary", primary, primary_required, P::idle);
  transitions("backup", backup, backup_required, B::empty);
  for (std::size_t i = 0; i < primary_actions.size(); ++i) {
    result.push_back({fmt::format("primary {}", primary_action_names[i]), primary_actions[i],
                      action_required(primary_action_names[i])});
  }
  for (std::size_t i = 0; i < backup_actions.size(); ++i) {
    result.push_back({fmt::format("backup {}", backup_action_names[i]), backup_actions[i], true});
  }
  for (std::size_t i = 0; i < probes.size(); ++i) {
    result.push_back({fmt::format("{}", probe_names[i]), probes[i], true});
  }
  return result;
}

}  // namespace remus::sim
