#include "world.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "engine/mutation.hpp"

namespace remus::sim {

namespace {

constexpr Ns longest_run = ms(30'000);
constexpr std::uint64_t most_events = 400'000;

[[noreturn]] void throw_violation(std::string_view invariant, std::string_view text, const char*, int) {
  throw Violation(std::string{invariant}, "assertion: " + std::string{text});
}

engine::Duration milliseconds(std::int64_t n) {
  return std::chrono::milliseconds{n};
}

engine::Config random_config(Rng& rng) {
  engine::Config config;
  config.interval = milliseconds(rng.range(20, 120));
  config.max_latency = milliseconds(rng.range(5, 25));
  config.min_interval = milliseconds(rng.range(1, 5));
  config.max_overhead = rng.chance(200) ? 0.05 : 0.3;
  config.max_epochs_in_flight = static_cast<std::uint32_t>(rng.range(1, 5));
  config.max_bytes_in_flight = rng.chance(200) ? 3'000 : 1ULL << 30U;
  config.heartbeat = milliseconds(rng.range(20, 50));
  config.detect_min = milliseconds(rng.range(150, 250));
  config.detect_max = milliseconds(rng.range(400, 600));
  config.alone_after = milliseconds(rng.range(1'000, 1'500));
  config.claim_retry = milliseconds(rng.range(50, 200));
  config.resync_min = milliseconds(rng.range(10, 50));
  config.resync_max = milliseconds(500);
  config.capture_max = milliseconds(rng.range(200, 400));
  return config;
}

ArbiterKind random_arbiter(Rng& rng, Scenario scenario) {
  if (scenario == Scenario::exclusive) return ArbiterKind::exclusive;
  return rng.chance(100) ? ArbiterKind::manual : ArbiterKind::fail_stop;
}

}  // namespace

World::World(std::uint64_t seed, Scenario scenario, Coverage& coverage, std::vector<std::string>* trace,
             Disks disks)
    : rng_{seed * 2 + static_cast<std::uint64_t>(scenario)},
      scenario_{scenario},
      coverage_{coverage},
      trace_{trace},
      config_{random_config(rng_)},
      arbiter_{random_arbiter(rng_, scenario)} {
  static_cast<void>(truth_.new_lineage());
  // Their chance is their own: a run is the same with modelled and with real ones.
  if (disks == Disks::real || (disks == Disks::by_seed && seed / 2 % 32 == 0)) {
    for (std::size_t h = 0; h < hosts_.size(); ++h)
      hosts_[h].disks = std::make_unique<DiskModel>(seed * 2 + h);
  }
  delay_min_ = us(rng_.range(50, 500));
  delay_max_ = delay_min_ + (rng_.chance(200) ? ms(rng_.range(5, 20)) : us(rng_.range(50, 3'000)));
  epoch_transfer_ = rng_.chance(200) ? ms(rng_.range(5, 30)) : us(rng_.range(100, 3'000));
  report_period_ = ms(rng_.range(25, 60));
  dial_period_ = ms(rng_.range(5, 30));
  for (Host& host : hosts_) {
    host.clock_offset = ms(rng_.range(1'000, 10'000'000));
    host.clock_ppm = rng_.range(-200, 200);
    host.generation = 1;
  }
  truth_.takes(0, 1);
  start_guest(0, 0, {});
  become_primary(0, engine::PrimaryStart::fresh);
  at(ms(rng_.range(0, 20)), EventKind::start_guard, 1);
  plan_faults();
}

RunResult World::run() {
  RunResult result;
  try {
    while (!done_ && !queue_.empty()) {
      const Event event = queue_.top();
      queue_.pop();
      now_ = std::max(now_, event.at);
      if (now_ > longest_run || ++events_ > most_events) throw Violation("liveness", "the run does not end");
      mix(static_cast<std::uint64_t>(event.at));
      mix((static_cast<std::uint64_t>(event.kind) << 8U) | event.host);
      dispatch(event);
    }
  } catch (const Violation& violation) {
    note("VIOLATION {}", violation.what());
    result.passed = false;
    result.violation = violation.what();
  }
  result.hash = hash_;
  result.simulated = now_;
  result.events = events_;
  return result;
}

void World::mix(std::uint64_t value) noexcept {
  hash_ = (hash_ ^ value) * 0x100000001b3ULL;
  hash_ ^= hash_ >> 29U;
}

std::uint64_t World::at(Ns delay, EventKind kind, std::size_t host, std::uint64_t a, std::uint64_t b) {
  queue_.push(
      {now_ + delay, ++sequence_, kind, static_cast<std::uint8_t>(host), hosts_[host].guard.number, a, b});
  return sequence_;
}

engine::Time World::local(std::size_t h) const noexcept {
  const Host& host = hosts_[h];
  return engine::Time{engine::Duration{host.clock_offset + now_ + now_ / 1'000'000 * host.clock_ppm}};
}

Ns World::world_time(std::size_t h, engine::Time local) const noexcept {
  const Host& host = hosts_[h];
  const Ns since = local.time_since_epoch().count() - host.clock_offset;
  return since - since / 1'000'000 * host.clock_ppm + 2'000;  // rounding: rather late than early
}

void World::dispatch(const Event& event) {
  const std::size_t h = event.host;
  switch (event.kind) {
    case EventKind::guest_step: guest_step(h, event.a); break;
    case EventKind::rescue:
      if (hosts_[h].guest.number == event.a) rescue(h);
      break;
    case EventKind::start_guard: start_guard(h); break;
    case EventKind::reboot: reboot(h); break;
    case EventKind::awake:
      if (hosts_[h].guard.number == event.guard && now_ >= hosts_[h].guard.slept_until) wake_guard(h);
      break;
    case EventKind::report_taken: take_report(h); break;
    case EventKind::pause_check: check_pause(h, event.a); break;
    case EventKind::fault: fault(static_cast<FaultKind>(event.a), h, static_cast<Ns>(event.b)); break;
    case EventKind::fault_end: fault_end(static_cast<FaultKind>(event.a), h); break;
    case EventKind::heal: heal(); break;
    case EventKind::settle: settle(); break;
    case EventKind::failover_due: failover_due(h, event.a); break;
    default: dispatch_guard(event); break;
  }
}

void World::dispatch_guard(const Event& event) {
  Guard& guard = hosts_[event.host].guard;
  if (!guard.exists || guard.number != event.guard) {
    if (event.kind == EventKind::deliver) deliver_to_nobody(event.host, static_cast<int>(event.a));
    return;
  }
  if (guard.asleep) {
    // Timers and periodic work do not pile up.
    if (event.kind == EventKind::timer) return;
    guard.inbox.push_back(event);
    return;
  }
  handle_guard(event);
}

void World::handle_guard(const Event& event) {
  const std::size_t h = event.host;
  Guard& guard = hosts_[h].guard;
  switch (event.kind) {
    case EventKind::timer:
      if (guard.timer_at == event.at) guard.timer_at = 0;
      if (guard.primary && local(h) >= guard.primary->next_deadline()) guard.primary->tick(local(h));
      if (guard.backup && local(h) >= guard.backup->next_deadline()) guard.backup->tick(local(h));
      break;
    case EventKind::deliver: deliver(h, static_cast<int>(event.a)); break;
    case EventKind::dial: dial(h); break;
    case EventKind::dial_timeout:
      if (guard.connection == static_cast<int>(event.a) && !guard.established) {
        close(h, true);
        at(dial_period_, EventKind::dial, h);
      }
      break;
    case EventKind::poll: poll(h); break;
    case EventKind::report:
      if (guard.backup) {
        guard.last_report = now_;
        guard.backup->host_report(local(h),
                                  {(event.a & 1U) != 0, (event.a & 2U) != 0, event.b, (event.a & 4U) != 0});
      }
      break;
    case EventKind::verdict: {
      const auto verdict = static_cast<engine::Verdict>(event.b);
      if (verdict == engine::Verdict::unavailable) coverage_.hit(Probe::arbiter_unavailable);
      const auto before = guard.primary ? static_cast<int>(guard.primary->state()) : -1;
      if (guard.primary) {
        if (verdict == engine::Verdict::denied) coverage_.hit(Probe::denied_primary);
        guard.primary->verdict(local(h), event.a, verdict);
        if (verdict == engine::Verdict::granted && before == static_cast<int>(guard.primary->state())) {
          coverage_.hit(Probe::late_grant_ignored);
        }
      } else if (guard.backup) {
        if (verdict == engine::Verdict::denied) coverage_.hit(Probe::denied_backup);
        guard.backup->verdict(local(h), event.a, verdict);
      }
      break;
    }
    case EventKind::output_waiting:
      if (guard.primary) guard.primary->output_waiting(local(h));
      break;
    case EventKind::sync_pause: sync_pause(h, event.a); break;
    case EventKind::pause_end: operation_ends(h, event.a); break;
    case EventKind::capture_ready:
      if (guard.primary && guard.primary->session() == event.a) guard.primary->capture_ready(local(h));
      break;
    case EventKind::stale_result:
      coverage_.hit(Probe::stale_result_ignored);
      if (guard.primary) guard.primary->capture_failed(local(h), event.a, "interrupted");
      break;
    case EventKind::apply_done:
      if (event.a == guard.image_session) apply_done(h);
      break;
    case EventKind::activate_done: activate_done(h, event.a); break;
    case EventKind::guest_gone:
      if (guard.primary) guard.primary->guest_gone(local(h), event.a != 0);
      break;
    case EventKind::guest_doomed:
      if (guard.primary) guard.primary->guest_doomed(local(h));
      break;
    case EventKind::stop_guest: end_doomed(h); break;
    case EventKind::operator_call: operator_call(h, event.a != 0); break;
    default: break;
  }
  drain(h);
}

/// Carries out what the engine asks for, until it asks for nothing more.
void World::drain(std::size_t h) {
  Guard& guard = hosts_[h].guard;
  const std::uint64_t number = guard.number;
  const auto alive = [&] { return guard.exists && guard.number == number && !guard.asleep; };
  while (alive()) {
    if (guard.primary) {
      const auto actions = guard.primary->take_actions();
      if (actions.empty()) break;
      for (const auto& action : actions) {
        if (step(h) || !alive()) return;
        mix(action.index());
        ++coverage_.primary_actions[action.index()];
        act(h, action);
        if (!alive()) return;
      }
    } else if (guard.backup) {
      const auto actions = guard.backup->take_actions();
      if (actions.empty()) break;
      for (const auto& action : actions) {
        if (step(h) || !alive()) return;
        mix(action.index() + 100);
        ++coverage_.backup_actions[action.index()];
        act(h, action);
        if (!alive()) return;
      }
    } else {
      break;
    }
  }
  if (!alive()) return;
  if (guard.leaving) {
    exit_guard(h);
  } else {
    arm_timer(h);
  }
}

/// Counts the actions carried out on a host, and crashes it between two of them if that is planned. True: it
/// crashed.
bool World::step(std::size_t h) {
  Host& host = hosts_[h];
  if (++host.steps != host.crash_at_step) return false;
  const FaultKind kind = host.step_crash_is_host ? FaultKind::host_crash : FaultKind::guard_crash;
  if (healed_ || !allowed(kind, h)) return false;
  coverage_.hit(Probe::crash_between_actions);
  fault(kind, h, ms(rng_.range(20, 500)));
  return true;
}

void World::arm_timer(std::size_t h) {
  Guard& guard = hosts_[h].guard;
  engine::Time deadline = engine::Time::max();
  if (guard.primary) deadline = guard.primary->next_deadline();
  if (guard.backup) deadline = guard.backup->next_deadline();
  if (deadline == engine::Time::max()) return;
  const Ns when = std::max(now_, world_time(h, deadline));
  if (guard.timer_at != 0 && guard.timer_at <= when) return;
  guard.timer_at = now_ + (when - now_);
  at(when - now_, EventKind::timer, h);
}

std::string_view to_string(EventKind kind) noexcept {
  constexpr std::string_view names[] = {
      "timer",         "deliver",        "dial",          "dial_timeout", "poll",          "report",
      "verdict",       "output_waiting", "sync_pause",    "pause_end",    "capture_ready", "apply_done",
      "activate_done", "stale_result",   "operator_call", "guest_gone",   "guest_doomed",  "stop_guest",
      "guest_step",    "rescue",         "start_guard",   "reboot",       "awake",         "report_taken",
      "pause_check",   "fault",          "fault_end",     "heal",         "settle",        "failover_due"};
  return names[static_cast<std::size_t>(kind)];
}

RunResult run_seed(std::uint64_t seed, Scenario scenario, Coverage& coverage, std::vector<std::string>* trace,
                   Disks disks) {
  set_assert_handler(throw_violation);
  try {
    World world{seed, scenario, coverage, trace, disks};
    return world.run();
  } catch (const Violation& violation) {
    return {false, violation.what(), 0, 0, 0};
  }
}

}  // namespace remus::sim
