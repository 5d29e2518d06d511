// What goes wrong, when it may, and what must be true afterwards.
#include <algorithm>

#include "world.hpp"

namespace remus::sim {

namespace {
constexpr std::size_t index(FaultKind kind) {
  return static_cast<std::size_t>(kind);
}
}  // namespace

std::string_view to_string(FaultKind kind) noexcept {
  constexpr std::string_view names[] = {
      "link reset",      "link partition", "link one way",    "report outage",  "guard sleep",
      "guard crash",     "host crash",     "guest crash",     "arbiter outage", "slow apply",
      "slow capture",    "hang capture",   "fail capture",    "fail sync",      "fail apply",
      "fail activation", "lose standby",   "total partition", "host freeze",    "operator failover",
      "operator force",  "unprotect",      "guest stop",      "crash at step",  "checkpoint now",
      "big epochs",      "guest doomed"};
  return names[static_cast<std::size_t>(kind)];
}

/// A handful of faults at random moments, sometimes in the combinations that hurt most; then everything
/// heals.
void World::plan_faults() {
  const Ns last = ms(rng_.range(500, 2'200));
  // Within braces, unlike among a function's arguments, what is drawn first is no choice of the compiler: a
  // seed tells the same story whoever compiled it.
  struct Planned {
    Ns when;
    FaultKind kind;
    std::size_t host;
    Ns duration;
  };
  const auto plan = [&](const Planned& fault) {
    at(fault.when, EventKind::fault, fault.host, index(fault.kind),
       static_cast<std::uint64_t>(fault.duration));
  };
  const auto either = [this] { return static_cast<std::size_t>(rng_.below(2)); };  // of the two hosts
  const auto n = rng_.below(6);
  for (std::uint64_t i = 0; i < n; ++i) {
    auto kind = static_cast<FaultKind>(rng_.below(index(FaultKind::count_)));
    // People intervene rarely.
    const bool rare =
        kind == FaultKind::operator_force || kind == FaultKind::guest_stop || kind == FaultKind::unprotect;
    if (rare && !rng_.chance(200)) kind = FaultKind::link_reset;
    const Ns duration = rng_.chance(300) ? ms(rng_.range(1, 100)) : ms(rng_.range(100, 2'500));
    plan({ms(rng_.range(100, last / 1'000'000)), kind, either(), duration});
  }
  const Ns start = ms(rng_.range(250, 900));
  switch (rng_.below(12)) {
    case 0:  // the backup sleeps, the primary gives it up, goes alone, and dies before the backup wakes
      plan({start, FaultKind::guard_sleep, 1, ms(rng_.range(1'300, 2'600))});
      plan({start + ms(rng_.range(1'000, 2'600)), FaultKind::host_crash, 0, ms(rng_.range(100, 1'000))});
      break;
    case 1:  // link cut for longer than going alone takes, then the primary dies
      plan({start, FaultKind::link_partition, either(), ms(rng_.range(100, 2'500))});
      plan({start + ms(rng_.range(100, 2'500)), FaultKind::host_crash, 0, ms(rng_.range(100, 1'000))});
      break;
    case 2:  // the primary dies while the image lags
      plan({start, FaultKind::slow_apply, 1, ms(800)});
      plan({start + ms(rng_.range(10, 400)), FaultKind::host_crash, 0, ms(rng_.range(100, 1'000))});
      break;
    case 3:  // both paths cut (exclusive only)
      plan({start, FaultKind::partition_total, either(), ms(rng_.range(300, 2'500))});
      if (rng_.chance(500))
        plan({start + ms(rng_.range(0, 800)), FaultKind::arbiter_outage, either(), ms(600)});
      break;
    case 4:  // a failed capture, then trouble while the session is replaced
      plan({start, rng_.chance(500) ? FaultKind::fail_capture : FaultKind::hang_capture, 0, 0});
      plan({start + ms(rng_.range(0, 500)),
            rng_.chance(500) ? FaultKind::host_crash : FaultKind::link_partition, either(),
            ms(rng_.range(100, 1'500))});
      break;
    case 5:  // a plain death of the primary
      plan({start, FaultKind::host_crash, 0, ms(rng_.range(100, 2'000))});
      break;
    default: break;
  }
  for (Host& host : hosts_) {
    if (!rng_.chance(200)) continue;
    host.crash_at_step = static_cast<std::uint64_t>(rng_.range(2, 600));
    host.step_crash_is_host = rng_.chance(500);
  }
  heal_at_ = std::max(last, ms(2'600)) + ms(300);
  if (rng_.chance(400)) heal_at_ = last + ms(300);
  at(heal_at_, EventKind::heal, 0);
}

// --- what fail-stop allows ---

/// The host whose guest speaks for the newest generation.
std::optional<std::size_t> World::primary_host() const noexcept {
  std::optional<std::size_t> found;
  for (std::size_t h = 0; h < 2; ++h) {
    if (hosts_[h].guest.exists && (!found || hosts_[h].generation > hosts_[*found].generation)) found = h;
  }
  return found;
}

bool World::may_activate(std::size_t h) const noexcept {
  const Guard& guard = hosts_[h].guard;
  if (!guard.exists || !guard.backup) return false;
  const auto state = guard.backup->state();
  return state != engine::BackupState::empty && state != engine::BackupState::synchronizing &&
         state != engine::BackupState::stale && state != engine::BackupState::ended;
}

bool World::reports_flow(std::size_t from) const noexcept {
  const Host& host = hosts_[from];
  const Guard& other = hosts_[1 - from].guard;
  if (!other.exists || !other.backup) return true;
  return host.up && host.daemon && !host.frozen && report_faults_ == 0 && !other.asleep &&
         now_ - other.last_report < config_.detect_min.count() / 2;
}

bool World::link_healthy() const noexcept {
  if (link_faults_ > 0) return false;
  for (const Host& host : hosts_) {
    const Guard& guard = host.guard;
    if (!guard.exists || guard.asleep || !guard.established) return false;
    if (guard.primary ? !guard.primary->link_is_up() : !guard.backup->link_is_up()) return false;
  }
  return true;
}

/// Fail-stop: a host that is silent on every path is dead. So while a guest lives, one path of its host must
/// speak; and a guard's death must have become known (or its lease be over) before the rest of its host
/// follows.
bool World::allowed(FaultKind kind, std::size_t h) const {
  const bool total = kind == FaultKind::partition_total || kind == FaultKind::host_freeze;
  if (scenario_ == Scenario::exclusive) return true;
  if (total || (kind == FaultKind::arbiter_outage && arbiter_.kind() != ArbiterKind::manual)) return false;
  const auto primary = primary_host();
  if (!primary) return true;
  const bool on_primary = h == *primary;
  switch (kind) {
    // NOLINTNEXTLINE(bugprone-branch-clone): each fault by itself, in the order of its kinds
    case FaultKind::link_reset:
    case FaultKind::link_partition:
    case FaultKind::link_one_way:
    case FaultKind::operator_force: return reports_flow(*primary);
    case FaultKind::guard_sleep:
    case FaultKind::guard_crash: return reports_flow(*primary);
    case FaultKind::report_outage:
      return link_healthy() && now_ - link_fault_ended_ > config_.detect_max.count();
    case FaultKind::host_crash:
    case FaultKind::guest_crash: return !on_primary || now_ >= hosts_[h].open_until || !may_activate(1 - h);
    default: return true;
  }
}

// --- faults ---

void World::fault(FaultKind kind, std::size_t h, Ns duration) {
  if (healed_ || !allowed(kind, h)) return;
  Host& host = hosts_[h];
  Guard& guard = host.guard;
  ++faults_;
  note("FAULT {} host {} for {} ms", to_string(kind), h, duration / 1'000'000);
  const auto ends = [&] { at(duration, EventKind::fault_end, h, index(kind)); };
  switch (kind) {
    case FaultKind::link_reset:
      for (std::size_t side = 0; side < 2; ++side) {
        Guard& end = hosts_[side].guard;
        if (end.exists && end.connection >= 0) push(end.connection, side, {.kind = MessageKind::eof}, 0);
      }
      break;
    case FaultKind::link_partition:
      ++link_faults_, ++blocked_[0], ++blocked_[1];
      ends();
      break;
    case FaultKind::link_one_way:
      ++link_faults_, ++blocked_[h];
      ends();
      break;
    case FaultKind::report_outage:
      ++report_faults_;
      if (rng_.chance(500)) {
        host.daemon = false;
      } else {
        ++report_blocked_[h];
        armed_[index(kind)] = true;
      }
      ends();
      break;
    case FaultKind::guard_sleep: sleep_guard(h, duration); break;
    case FaultKind::guard_crash: crash_guard(h); break;
    case FaultKind::host_crash:
      if (!host.up) break;
      if (host.guest.exists) expect_failover(h);
      crash_host(h);
      at(duration, EventKind::reboot, h);
      break;
    case FaultKind::guest_crash:
      if (!host.guest.exists || !guard.exists || !guard.primary) break;
      coverage_.hit(Probe::guest_crashed);
      kill_guest(h);
      interrupt(h);
      at(us(rng_.range(10, 5'000)), EventKind::guest_gone, h, 0);
      break;
    case FaultKind::guest_stop:
      if (!host.guest.exists || !guard.exists || !guard.primary) break;
      coverage_.hit(Probe::guest_stopped);
      stopped_ = true;
      kill_guest(h);
      interrupt(h);
      at(us(rng_.range(10, 5'000)), EventKind::guest_gone, h, 1);
      break;
    case FaultKind::guest_doomed:
      if (!host.guest.exists || host.guest.doomed || !guard.exists || !guard.primary) break;
      coverage_.hit(Probe::guest_doomed);
      expect_failover(h);
      host.guest.doomed = true;
      if (guard.operation.active && rng_.chance(500)) guard.operation.fails = true;
      at(us(rng_.range(10, 5'000)), EventKind::guest_doomed, h);
      break;
    case FaultKind::arbiter_outage:
      ++arbiter_blocked_[h];
      ends();
      break;
    case FaultKind::slow_apply: slow_apply_until_ = now_ + duration; break;
    case FaultKind::slow_capture: slow_capture_until_ = now_ + duration; break;
    case FaultKind::hang_capture:
    case FaultKind::fail_capture:
    case FaultKind::fail_sync:
    case FaultKind::fail_apply:
    case FaultKind::fail_activation: armed_[index(kind)] = true; break;
    case FaultKind::lose_standby:
      if (!guard.exists || guard.asleep || !guard.backup) break;
      coverage_.hit(Probe::standby_lost);
      guard.backup->standby_lost(local(h), "its process died");
      drain(h);
      break;
    case FaultKind::partition_total:
      coverage_.hit(Probe::partition_total);
      ++link_faults_, ++report_faults_;
      ++blocked_[0], ++blocked_[1], ++report_blocked_[0], ++report_blocked_[1];
      ends();
      break;
    case FaultKind::host_freeze:
      if (!host.up || host.frozen) break;
      coverage_.hit(Probe::host_frozen);
      host.frozen = true;
      sleep_guard(h, duration);
      ends();
      break;
    case FaultKind::operator_failover:
      if (guard.exists && guard.backup) at(0, EventKind::operator_call, h, 0);
      break;
    case FaultKind::operator_force:
      if (guard.exists && guard.backup) at(0, EventKind::operator_call, h, 1);
      break;
    case FaultKind::unprotect:
      if (!guard.exists || guard.asleep || !guard.primary) break;
      guard.primary->unprotect(local(h));
      drain(h);
      break;
    case FaultKind::crash_at_step:
      host.crash_at_step = host.steps + static_cast<std::uint64_t>(rng_.range(1, 40));
      host.step_crash_is_host = rng_.chance(500);
      break;
    case FaultKind::checkpoint_now:
      if (!guard.exists || guard.asleep || !guard.primary) break;
      guard.primary->checkpoint_now(local(h));
      drain(h);
      break;
    case FaultKind::big_epochs: epoch_transfer_ = ms(rng_.range(5, 80)); break;
    case FaultKind::count_: break;
  }
}

void World::fault_end(FaultKind kind, std::size_t h) {
  if (healed_) return;
  note("fault over: {} host {}", to_string(kind), h);
  switch (kind) {
    case FaultKind::link_partition: --link_faults_, --blocked_[0], --blocked_[1]; break;
    case FaultKind::link_one_way: --link_faults_, --blocked_[h]; break;
    case FaultKind::report_outage:
      --report_faults_;
      hosts_[h].daemon = true;
      if (report_blocked_[h] > 0 && std::exchange(armed_[index(kind)], false)) --report_blocked_[h];
      break;
    case FaultKind::arbiter_outage: --arbiter_blocked_[h]; break;
    case FaultKind::partition_total:
      --link_faults_, --report_faults_;
      --blocked_[0], --blocked_[1], --report_blocked_[0], --report_blocked_[1];
      break;
    case FaultKind::host_freeze: hosts_[h].frozen = false; break;
    default: break;
  }
  link_fault_ended_ = now_;
  flush_paths();
}

// --- what must be true afterwards ---

/// A host, or what its guest needs there, dies with a good standby on the other: one failure, so the guest must run there soon (S5), unless
/// another fault comes before.
void World::expect_failover(std::size_t dead) {
  const std::size_t h = 1 - dead;
  const Guard& guard = hosts_[h].guard;
  const Guard& lost = hosts_[dead].guard;
  if (arbiter_.kind() == ArbiterKind::manual || truth_.loss_accepted() || stopped_ || grant_lost_) return;
  if (!link_healthy() || link_faults_ > 0 || arbiter_blocked_[h] > 0 || !guard.backup || !lost.primary)
    return;
  if (guard.backup->state() != engine::BackupState::standby ||
      lost.primary->state() != engine::PrimaryState::protected_)
    return;
  // An old lease may run out before the silence has lasted long enough: then being stale is right.
  const bool lease_lasts = guard.backup->lease_until() - local(h) >= config_.detect_max + config_.detect_min;
  if (!arbiter_.exclusive() && !lease_lasts) return;
  if (armed_[index(FaultKind::fail_apply)] || armed_[index(FaultKind::fail_activation)] ||
      now_ < slow_apply_until_)
    return;
  if (hosts_[h].crash_at_step > hosts_[h].steps) return;
  at(2 * config_.detect_max.count() + ms(700), EventKind::failover_due, h, faults_);
}

void World::failover_due(std::size_t h, std::uint64_t faults) {
  if (faults != faults_ || stopped_) return;
  const auto runs = [](const Guest& guest) { return guest.exists && !guest.doomed; };
  if (runs(hosts_[h].guest) || runs(hosts_[1 - h].guest)) return coverage_.hit(Probe::failover_in_time);
  throw Violation("S5",
                  fmt::format("host {} or its guest died alone, and it does not run on host {}", 1 - h, h));
}

void World::heal() {
  healed_ = true;
  note("everything heals");
  blocked_ = report_blocked_ = arbiter_blocked_ = {0, 0};
  link_faults_ = report_faults_ = 0;
  slow_apply_until_ = slow_capture_until_ = 0;
  epoch_transfer_ = std::min(epoch_transfer_, ms(5));
  armed_ = {};
  for (std::size_t h = 0; h < 2; ++h) {
    hosts_[h].frozen = false;
    hosts_[h].daemon = true;
    hosts_[h].crash_at_step = 0;
    if (!hosts_[h].up) reboot(h);
    wake_guard(h);
  }
  flush_paths();
  at(ms(50), EventKind::settle, 0);
}

/// After healing, protection comes back, on exactly one host; or the guest is lost for a good reason.
void World::settle() {
  const Ns since = now_ - heal_at_;
  if (stopped_) {
    done_ = since > ms(200);
  } else {
    std::size_t guests = 0;
    bool hope = false;
    for (std::size_t h = 0; h < 2; ++h) {
      const Host& host = hosts_[h];
      if (host.guest.exists) {
        ++guests;
        // Where it was not protected nobody else can go on with it: its administrator ends it.
        if (host.guest.doomed && since > ms(1'500)) end_doomed(h), drain(h);
        if (host.guard.primary && host.guard.exists &&
            host.guard.primary->state() == engine::PrimaryState::protected_) {
          const auto committed = host.guard.primary->committed();
          if (settled_commit_ && committed && *committed >= *settled_commit_ + 2) done_ = true;
          if (!settled_commit_ || (committed && *committed < *settled_commit_)) settled_commit_ = committed;
        }
      }
      hope = hope || may_activate(h);
      if (may_activate(h) && arbiter_.kind() == ArbiterKind::manual && since > ms(1'000) && guests == 0) {
        operator_call(h, false);
        drain(h);
      }
    }
    if (guests == 2) done_ = false;
    if (guests == 0 && !hope) {
      coverage_.hit(Probe::guest_lost);
      done_ = true;
    }
    if (!done_ && since > ms(8'000)) {
      if (truth_.loss_accepted()) {
        done_ = true;
      } else {
        throw Violation("liveness", fmt::format("{} guests run, and protection does not come back", guests));
      }
    }
  }
  if (!done_) at(ms(50), EventKind::settle, 0);
}

}  // namespace remus::sim
