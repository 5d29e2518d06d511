// Hosts, guests and guards' lives: starting, sleeping, crashing, coming back.
#include <algorithm>

#include "world.hpp"

namespace remus::sim {

// --- the guest ---

void World::start_guest(std::size_t h, std::uint32_t lineage, const Snapshot& from) {
  Guest& guest = hosts_[h].guest;
  guest = {};
  guest.exists = true;
  guest.number = ++numbers_;
  guest.now = from;
  guest.now.lineage = lineage;
  at(us(rng_.range(100, 5'000)), EventKind::guest_step, h, guest.number);
}

void World::guest_step(std::size_t h, std::uint64_t number) {
  Host& host = hosts_[h];
  Guest& guest = host.guest;
  if (!guest.exists || guest.number != number) return;
  if (!guest.paused && !host.frozen) {
    ++guest.now.progress;
    if (rng_.chance(300)) {
      const std::uint64_t progress = guest.now.progress;
      guest.now.disk[progress * 0x9e3779b97f4a7c15ULL >> 61U] =
          progress % 5 == 0 ? 0 : std::uint64_t{guest.now.lineage} << 32U | progress;
    }
    if (rng_.chance(400)) emit_packet(h);
  }
  at(rng_.chance(100) ? ms(rng_.range(20, 100)) : us(rng_.range(500, 12'000)), EventKind::guest_step, h,
     number);
}

void World::emit_packet(std::size_t h) {
  Guest& guest = hosts_[h].guest;
  if (!guest.hold) return truth_.seen(guest.now.lineage, guest.now.progress);
  const bool first = guest.held.empty() || guest.held.back().marked;
  guest.held.push_back({guest.now.lineage, guest.now.progress, 0, false});
  if (first) at(us(rng_.range(1, 200)), EventKind::output_waiting, h);
}

void World::pass_output(std::size_t h) {
  Guest& guest = hosts_[h].guest;
  guest.hold = false;
  for (const Packet& packet : guest.held) truth_.seen(packet.lineage, packet.progress);
  guest.held.clear();
}

void World::release_output(std::size_t h, Epoch upto) {
  Guest& guest = hosts_[h].guest;
  while (!guest.held.empty() && guest.held.front().marked && guest.held.front().epoch <= upto) {
    truth_.seen(guest.held.front().lineage, guest.held.front().progress);
    guest.held.pop_front();
  }
}

void World::kill_guest(std::size_t h) {
  hosts_[h].guest.exists = false;
  hosts_[h].guest.held.clear();
}

void World::begin_pause(std::size_t h, Epoch epoch) {
  Guest& guest = hosts_[h].guest;
  guest.paused = true;
  guest.pause = ++numbers_;
  for (Packet& packet : guest.held) {
    if (!packet.marked) packet.marked = true, packet.epoch = epoch;
  }
  hosts_[h].guard.operation.paused_at = now_;
  at(config_.capture_max.count() + ms(500), EventKind::pause_check, h, guest.pause);
}

void World::end_pause(std::size_t h) {
  hosts_[h].guest.paused = false;
}

/// S6: a pause has ended by now, unless whoever is to end it cannot (it sleeps, or is dead and its keeper on
/// the way).
void World::check_pause(std::size_t h, std::uint64_t pause) {
  const Host& host = hosts_[h];
  if (!host.guest.exists || host.guest.doomed || !host.guest.paused || host.guest.pause != pause) return;
  if (host.guard.exists && host.guard.asleep) coverage_.hit(Probe::slept_with_paused_guest);
  const Ns limit = config_.capture_max.count() + ms(500);
  const bool excused =
      host.frozen || (host.guard.exists && (host.guard.asleep || now_ - host.guard.slept_until < limit));
  if (!excused) throw Violation("S6", fmt::format("the guest on host {} stays paused", h));
  at(limit, EventKind::pause_check, h, pause);
}

/// A doomed guest is stopped for good.
void World::end_doomed(std::size_t h) {
  Host& host = hosts_[h];
  if (!host.guest.exists || !host.guest.doomed || !host.guard.exists || host.guard.asleep) return;
  if (!host.guard.primary) return;
  kill_guest(h);
  interrupt(h);
  host.guard.primary->guest_gone(local(h), false);
}

// --- guards ---

void World::start_guard(std::size_t h) {
  Host& host = hosts_[h];
  if (!host.up || host.guard.exists || stopped_) return;
  if (!host.daemon) {  // nobody there to start it
    at(ms(20), EventKind::start_guard, h);
    return;
  }
  if (host.guest.exists && host.guest.doomed) {
    // No new guard can take it on; its administrator ends it, within what fail-stop allows.
    if (allowed(FaultKind::guest_crash, h)) {
      kill_guest(h);
      host.known = false;
    } else {
      at(ms(20), EventKind::start_guard, h);
      return;
    }
  }
  if (host.guest.exists) {
    if (!host.known) coverage_.hit(Probe::reprotected_by_admin);
    become_primary(h, host.known ? engine::PrimaryStart::rescued : engine::PrimaryStart::fresh);
    return;
  }
  host.guard = {};
  host.guard.exists = true;
  host.guard.number = ++numbers_;
  host.guard.backup = std::make_unique<engine::Backup>(
      engine::Backup::Setup{config_, host.generation, arbiter_.exclusive()}, local(h));
  note("host {}: backup guard starts, generation {}", h, host.generation);
  find_replicas(h);
  at(0, EventKind::poll, h);
  drain(h);
}

/// Whatever became of this host or its guard: what it has of disks is whole, and not less than was promised.
void World::find_replicas(std::size_t h) {
  if (!hosts_[h].disks) return;
  const auto found = hosts_[h].disks->start();
  if (!found) return;
  note("host {}: finds replicas of epoch {}", h, found->epoch);
  coverage_.hit(Probe::replicas_recovered);
  truth_.recovers(found->session, found->epoch, found->content);
}

void World::become_primary(std::size_t h, engine::PrimaryStart start) {
  Host& host = hosts_[h];
  host.guard = {};
  host.guard.exists = true;
  host.guard.number = ++numbers_;
  host.guard.primary = std::make_unique<engine::Primary>(
      engine::Primary::Setup{config_, host.generation, rng_.next(), arbiter_.exclusive(), start}, local(h));
  note("host {}: primary guard starts, generation {}, start {}", h, host.generation, static_cast<int>(start));
  at(us(rng_.range(100, 10'000)), EventKind::dial, h);
  drain(h);
}

/// The guard ends in good order.
void World::exit_guard(std::size_t h) {
  Host& host = hosts_[h];
  note("host {}: guard exits", h);
  close(h, false);
  interrupt(h);
  host.guard.exists = false;
  host.guard.inbox.clear();
  if (host.disks) host.disks->process_died();
  at(ms(rng_.range(20, 200)), EventKind::start_guard, h);
}

/// The guard's process dies. Under fail-stop the output filter opens by itself (contract 5); under an
/// exclusive arbiter it must stay shut until a new guard has been granted the next generation.
void World::crash_guard(std::size_t h) {
  Host& host = hosts_[h];
  if (!host.guard.exists) return;
  note("host {}: guard crashes", h);
  if (host.guard.primary) coverage_.hit(Probe::guard_crash_primary);
  if (host.guard.backup) coverage_.hit(Probe::guard_crash_backup);
  if (host.guest.paused) coverage_.hit(Probe::guard_crash_while_paused);
  if (host.guard.backup && host.guard.backup->state() == engine::BackupState::activating) {
    coverage_.hit(Probe::guard_crash_while_activating);
  }
  close(h, rng_.chance(500));
  if (host.disks) host.disks->process_died();
  host.guard.exists = false;
  host.guard.inbox.clear();
  if (host.guest.exists) {
    host.guest.held.clear();
    host.open_until = now_ + config_.alone_after.count();
    if (!arbiter_.exclusive()) host.guest.hold = false;
    at(us(rng_.range(100, 20'000)), EventKind::rescue, h, host.guest.number);
  }
  at(ms(rng_.range(20, 400)), EventKind::start_guard, h);
}

void World::rescue(std::size_t h) {
  hosts_[h].guest.paused = false;
}

void World::crash_host(std::size_t h) {
  Host& host = hosts_[h];
  if (!host.up) return;
  note("host {}: crashes", h);
  if (host.guest.exists) coverage_.hit(Probe::host_crash_primary);
  if (host.guard.exists && host.guard.backup) coverage_.hit(Probe::host_crash_backup);
  if (host.guard.exists && host.guard.connection >= 0) {
    coverage_.hit(Probe::half_open);
    connections_[static_cast<std::size_t>(host.guard.connection)].open[h] = false;
  }
  host.up = false;
  host.frozen = false;
  if (host.disks) host.disks->power_cut();
  host.guard.exists = false;
  host.guard.inbox.clear();
  ++host.boots;
  kill_guest(h);
}

void World::reboot(std::size_t h) {
  Host& host = hosts_[h];
  if (host.up) return;
  note("host {}: is back", h);
  host.up = true;
  host.known = false;
  at(ms(rng_.range(20, 200)), EventKind::start_guard, h);
}

void World::sleep_guard(std::size_t h, Ns duration) {
  Guard& guard = hosts_[h].guard;
  if (!guard.exists) return;
  note("host {}: guard sleeps for {} ms", h, duration / 1'000'000);
  coverage_.hit(guard.primary ? Probe::primary_slept : Probe::backup_slept);
  if (hosts_[h].guest.paused) coverage_.hit(Probe::slept_with_paused_guest);
  guard.asleep = true;
  guard.slept_until = std::max(guard.slept_until, now_ + duration);
  at(guard.slept_until - now_, EventKind::awake, h);
}

void World::wake_guard(std::size_t h) {
  Guard& guard = hosts_[h].guard;
  if (!guard.exists || !guard.asleep) return;
  note("host {}: guard wakes, {} events wait", h, guard.inbox.size());
  guard.asleep = false;
  guard.timer_at = 0;
  const std::uint64_t number = guard.number;
  // A real event loop may look at its timers before its sockets, or after.
  if (rng_.chance(500)) {
    if (guard.primary) guard.primary->tick(local(h));
    if (guard.backup) guard.backup->tick(local(h));
    drain(h);
  }
  std::vector<Event> inbox = std::exchange(guard.inbox, {});
  for (const Event& event : inbox) {
    if (!guard.exists || guard.number != number) return;
    if (guard.asleep) {
      guard.inbox.push_back(event);
    } else {
      handle_guard(event);
    }
  }
  if (guard.exists && guard.number == number && !guard.asleep) {
    guard.timer_at = 0;
    drain(h);
  }
}

}  // namespace remus::sim
