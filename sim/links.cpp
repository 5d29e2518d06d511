// The link between guards, and the host reports.
#include <algorithm>

#include "world.hpp"

namespace remus::sim {

bool World::path_open(std::size_t to) const noexcept {
  return blocked_[to] == 0 && hosts_[to].up && !hosts_[to].frozen;
}

void World::push(int connection, std::size_t to, const Message& message, Ns extra) {
  Connection& link = connections_[static_cast<std::size_t>(connection)];
  const Ns when = std::max(link.last_at[to], now_ + extra + rng_.range(delay_min_, delay_max_));
  link.last_at[to] = when;
  link.queue[to].push_back(message);
  at(when - now_, EventKind::deliver, to, static_cast<std::uint64_t>(connection));
}

void World::send(std::size_t h, const Message& message, Ns transfer) {
  const Guard& guard = hosts_[h].guard;
  if (guard.connection < 0) return;
  push(guard.connection, 1 - h, message, transfer);
}

/// A path has healed: TCP sends again what was stuck.
void World::flush_paths() {
  for (std::size_t c = 0; c < connections_.size(); ++c) {
    for (std::size_t to = 0; to < 2; ++to) {
      if (!path_open(to)) continue;
      for (std::size_t i = 0; i < connections_[c].queue[to].size(); ++i) {
        at(rng_.range(delay_min_, delay_max_), EventKind::deliver, to, c);
      }
    }
  }
}

void World::dial(std::size_t h) {
  Guard& guard = hosts_[h].guard;
  if (!guard.primary || guard.connection >= 0) return;
  guard.connection = static_cast<int>(connections_.size());
  guard.established = guard.session_on_link = false;
  connections_.emplace_back();
  Message message{.kind = MessageKind::dial};
  message.generation = guard.primary->generation();
  send(h, message);
  at(ms(100), EventKind::dial_timeout, h, static_cast<std::uint64_t>(guard.connection));
}

/// Closes this guard's connection. The other end hears of it after what was sent before, or instead of it.
void World::close(std::size_t h, bool abrupt) {
  Guard& guard = hosts_[h].guard;
  if (guard.connection < 0) return;
  const int connection = std::exchange(guard.connection, -1);
  Connection& link = connections_[static_cast<std::size_t>(connection)];
  guard.established = guard.session_on_link = false;
  if (guard.backup && hosts_[h].disks) hosts_[h].disks->torn();
  link.open[h] = false;
  link.queue[h].clear();
  if (abrupt) link.queue[1 - h].clear();
  if (link.open[1 - h]) push(connection, 1 - h, {.kind = MessageKind::eof}, 0);
}

void World::lost_connection(std::size_t h) {
  Guard& guard = hosts_[h].guard;
  const bool established = guard.established;
  close(h, true);
  if (guard.primary) {
    if (established) guard.primary->link_down(local(h));
    at(rng_.range(us(100), dial_period_), EventKind::dial, h);
  } else if (guard.backup) {
    guard.torn = false;
    guard.backup->link_down(local(h));
  }
}

/// Whoever the message was for is gone, or never was: a living host's kernel says so.
void World::deliver_to_nobody(std::size_t h, int connection) {
  Connection& link = connections_[static_cast<std::size_t>(connection)];
  if (link.queue[h].empty() || !path_open(h)) return;
  const Guard& guard = hosts_[h].guard;
  if (guard.exists && !guard.asleep &&
      (guard.connection == connection || link.queue[h].front().kind == MessageKind::dial)) {
    // Sent to an earlier guard's number, but this one answers the port (a dial).
    deliver(h, connection);
    drain(h);
    return;
  }
  if (guard.exists && guard.asleep) return;
  const bool was_eof = link.queue[h].front().kind == MessageKind::eof;
  link.queue[h].pop_front();
  link.open[h] = false;
  if (!was_eof && link.open[1 - h]) push(connection, 1 - h, {.kind = MessageKind::eof}, 0);
}

void World::deliver(std::size_t h, int connection) {
  Connection& link = connections_[static_cast<std::size_t>(connection)];
  if (link.queue[h].empty() || !path_open(h)) return;
  Guard& guard = hosts_[h].guard;
  const bool dialled = link.queue[h].front().kind == MessageKind::dial;
  if (guard.connection != connection && !(dialled && link.open[h])) {
    const bool was_eof = link.queue[h].front().kind == MessageKind::eof;
    link.queue[h].pop_front();
    if (!was_eof && link.open[1 - h]) {
      link.open[h] = false;
      push(connection, 1 - h, {.kind = MessageKind::eof}, 0);
    }
    return;
  }
  const Message message = link.queue[h].front();
  link.queue[h].pop_front();
  mix(static_cast<std::uint64_t>(message.kind) << 16U | message.epoch);
  if (dialled) return accept_dial(h, connection, message);
  if (message.kind == MessageKind::eof) {
    note("host {}: connection closed by the other end", h);
    return lost_connection(h);
  }
  if (guard.primary) {
    receive_primary(h, message);
  } else if (guard.backup) {
    receive_backup(h, message);
  }
}

void World::accept_dial(std::size_t h, int connection, const Message& message) {
  Guard& guard = hosts_[h].guard;
  Message hello{.kind = MessageKind::hello};
  if (guard.primary) {
    // Both are primaries: each tells the other its generation; no link comes of it.
    hello.hello = {guard.primary->generation(), engine::BackupState::active, 0, 0};
    push(connection, 1 - h, hello, 0);
    connections_[static_cast<std::size_t>(connection)].open[h] = false;
    push(connection, 1 - h, {.kind = MessageKind::eof}, 0);
    guard.primary->backup_is_active(local(h), message.generation);
    return;
  }
  if (guard.connection >= 0) close(h, true);
  guard.connection = connection;
  guard.established = true;
  hello.hello = guard.backup->hello();
  send(h, hello);
  guard.backup->link_up(local(h));
}

void World::receive_primary(std::size_t h, const Message& message) {
  Guard& guard = hosts_[h].guard;
  engine::Primary& primary = *guard.primary;
  switch (message.kind) {
    case MessageKind::hello: {
      guard.established = true;
      const auto session = primary.session();
      const auto committed = primary.committed();
      note("host {}: hello, generation {}, {}, session {:x}, held {}", h, message.hello.generation,
           engine::to_string(message.hello.state), message.hello.session, message.hello.held);
      primary.link_up(local(h), message.hello);
      if (session != 0 && primary.session() == session && primary.link_is_up()) {
        coverage_.hit(Probe::resumed_session);
        if (committed != primary.committed()) coverage_.hit(Probe::resumed_beyond_committed);
      }
      break;
    }
    case MessageKind::ack: primary.acked(local(h), message.session, message.epoch); break;
    case MessageKind::heartbeat: primary.heartbeat(local(h), message.heartbeat); break;
    case MessageKind::refused:
      coverage_.hit(Probe::backup_refused);
      primary.backup_refused(local(h), "no memory");
      break;
    default: throw Violation("model", "a backup does not say this");
  }
}

void World::receive_backup(std::size_t h, const Message& message) {
  Guard& guard = hosts_[h].guard;
  engine::Backup& backup = *guard.backup;
  switch (message.kind) {
    case MessageKind::begin_session:
      backup.session_begin(local(h), message.session, message.generation);
      if (backup.session() == message.session) {
        guard.image_session = message.session;
        guard.image_epoch.reset();
        guard.whole.clear();
        guard.applying = guard.torn = false;
        if (hosts_[h].disks) hosts_[h].disks->begin_session(message.session);
        hosts_[h].generation = std::max(hosts_[h].generation, message.generation);
        if (!healed_ && rng_.chance(15)) {
          send(h, {.kind = MessageKind::refused});
        }
      }
      break;
    case MessageKind::epoch_part: {
      guard.torn = true;
      const auto held = backup.held();
      if (hosts_[h].disks && message.session == backup.session() && message.epoch == (held ? *held + 1 : 0))
        hosts_[h].disks->part(message.epoch, message.snapshot.disk, message.snapshot.written);
      break;
    }
    case MessageKind::epoch_end: {
      guard.torn = false;
      if (message.session != backup.session()) break;
      const auto held = backup.held();
      const Epoch next = held ? *held + 1 : 0;
      if (message.epoch == next) {
        guard.whole.emplace_back(message.epoch, message.snapshot);
        if (auto& disks = hosts_[h].disks; disks) {
          disks->whole(message.epoch, message.snapshot.disk, message.snapshot.written);
          if (message.epoch == 0 && disks->left_out() > 0 && disks->left_out() < disk_numbers)
            coverage_.hit(Probe::replicas_compared);
        }
        note("host {}: holds epoch {}", h, message.epoch);
        truth_.whole(message.session, message.epoch);
      }
      backup.epoch_whole(local(h), message.session, message.epoch);
      if (backup.acked() < backup.held()) coverage_.hit(Probe::ack_delayed);
      break;
    }
    case MessageKind::heartbeat: backup.heartbeat(local(h), message.heartbeat); break;
    case MessageKind::goodbye: backup.goodbye(local(h), message.goodbye); break;
    default: throw Violation("model", "a primary does not say this");
  }
}

// --- host reports ---

void World::poll(std::size_t h) {
  if (!hosts_[h].guard.backup) return;
  at(report_period_, EventKind::poll, h);
  if (report_blocked_[1 - h] == 0) at(rng_.range(us(100), ms(6)), EventKind::report_taken, h);
}

/// The other host's daemon looks at its guest and guard, for the guard on host `h`.
void World::take_report(std::size_t h) {
  const Host& other = hosts_[1 - h];
  if (!other.up || !other.daemon || other.frozen || report_blocked_[1 - h] != 0) return;
  const bool guarded = other.guard.exists && other.guard.primary != nullptr;
  const std::uint64_t flags = (other.guest.exists ? 1U : 0U) | (guarded ? 2U : 0U) | (other.alone ? 4U : 0U);
  at(rng_.range(us(100), ms(6)), EventKind::report, h, flags, other.generation);
}

}  // namespace remus::sim
