// The backup's shell, and the arbiter and operator as both sides meet them.
#include <algorithm>

#include "engine/mutation.hpp"
#include "world.hpp"

namespace remus::sim {

namespace action = engine::backup_action;

namespace {
template <typename... T>
struct Visitor : T... {
  using T::operator()...;
};
}  // namespace

void World::act(std::size_t h, const engine::BackupAction& what) {
  Host& host = hosts_[h];
  Guard& guard = host.guard;
  std::visit(
      Visitor{
          [&](const action::SendAck& ack) {
            truth_.ack_sent(ack.session, ack.epoch);
            send(h, {.kind = MessageKind::ack, .session = ack.session, .epoch = ack.epoch});
          },
          [&](const action::SendHeartbeat& beat) {
            send(h, {.kind = MessageKind::heartbeat, .heartbeat = beat.heartbeat});
          },
          [&](const action::Apply& apply) {
            if (guard.whole.empty() || guard.whole.back().first < apply.epoch) {
              throw Violation("S5", "an epoch that is not whole is to be applied");
            }
            apply_next(h);
          },
          [&](const action::DiscardTorn&) {
            if (guard.torn) coverage_.hit(Probe::torn_epoch);
            guard.torn = false;
          },
          [&](const action::ClaimActivation& claim) {
            note("host {}: claims activation, generation {}", h, claim.generation);
            ask_arbiter(h, claim.generation, true);
          },
          [&](const action::Activate& go) { activate(h, go.generation, go.epoch); },
          [&](const action::DiscardStandby& discard) {
            note("host {}: discards the standby: {}", h, discard.reason);
            guard.image_epoch.reset();
            guard.whole.clear();
            guard.applying = false;
            guard.image_session = 0;
          },
          [&](const action::DropLink& drop) {
            note("host {}: backup drops the link: {}", h, drop.reason);
            close(h, false);
          },
          [&](const action::StateChanged& change) {
            note("host {}: backup {} -> {}: {}", h, engine::to_string(change.from),
                 engine::to_string(change.to), change.reason);
            ++coverage_.backup[static_cast<std::size_t>(change.from)][static_cast<std::size_t>(change.to)];
            if (change.to == engine::BackupState::ended) guard.leaving = true;
          },
      },
      what);
}

void World::apply_next(std::size_t h) {
  Guard& guard = hosts_[h].guard;
  if (guard.applying || guard.whole.empty()) return;
  guard.applying = true;
  const Ns cost = now_ < slow_apply_until_ ? ms(rng_.range(20, 200)) : us(rng_.range(50, 3'000));
  at(cost, EventKind::apply_done, h, guard.image_session);
}

void World::apply_done(std::size_t h) {
  Guard& guard = hosts_[h].guard;
  if (!guard.applying || guard.whole.empty() || !guard.backup) return;
  guard.applying = false;
  if (std::exchange(armed_[static_cast<std::size_t>(FaultKind::fail_apply)], false)) {
    coverage_.hit(Probe::apply_failed);
    guard.backup->apply_failed(local(h), guard.image_session, "no memory");
    return;
  }
  const auto [epoch, snapshot] = guard.whole.front();
  guard.whole.pop_front();
  const DiskContent old_disk = guard.image.disk;
  guard.image = snapshot;
  if (hosts_[h].disks) guard.image.disk = hosts_[h].disks->apply(epoch);
  if (mutated(engine::Mutation::s4_apply_memory_only)) guard.image.disk = old_disk;
  guard.image_epoch = epoch;
  guard.backup->epoch_applied(local(h), guard.image_session, epoch);
  apply_next(h);
}

void World::activate(std::size_t h, Generation generation, Epoch epoch) {
  Host& host = hosts_[h];
  Guard& guard = host.guard;
  note("host {}: activates epoch {} as generation {}", h, epoch, generation);
  if (generation <= host.generation && !truth_.loss_accepted()) {
    throw Violation("S3",
                    fmt::format("host {} activates generation {} after {}", h, generation, host.generation));
  }
  truth_.takes(h, generation);
  host.generation = generation;
  truth_.may_activate(guard.image_session, epoch);
  if (guard.image_epoch != epoch) throw Violation("S5", "the image does not hold the epoch to be activated");
  at(us(rng_.range(500, 30'000)), EventKind::activate_done, h, epoch);
}

void World::activate_done(std::size_t h, Epoch epoch) {
  Host& host = hosts_[h];
  Guard& guard = host.guard;
  if (!guard.backup || guard.backup->state() != engine::BackupState::activating) return;
  if (std::exchange(armed_[static_cast<std::size_t>(FaultKind::fail_activation)], false)) {
    coverage_.hit(Probe::activation_failed);
    guard.backup->activation_failed(local(h), "the standby's process died");
    return;
  }
  const bool other_runs = hosts_[1 - h].guest.exists;
  if (scenario_ == Scenario::failstop && other_runs && !truth_.loss_accepted()) {
    throw Violation("S3", "activated while the guest runs on the other host");
  }
  if (host.disks) {
    guard.image.disk = host.disks->activate(epoch);
    coverage_.hit(Probe::replicas_activated);
  }
  const Snapshot image = guard.image;
  const std::uint32_t lineage = truth_.activates(guard.image_session, epoch, image);
  start_guest(h, lineage, image);
  host.alone = host.granted_alone = host.known = true;
  coverage_.hit(Probe::failover);
  if (++failovers_ > 1) coverage_.hit(Probe::second_failover);
  was_protected_ = false;
  guard.backup->activated(local(h));
  static_cast<void>(guard.backup->take_actions());
  ++coverage_.backup[static_cast<std::size_t>(engine::BackupState::activating)]
                    [static_cast<std::size_t>(engine::BackupState::active)];
  close(h, false);
  become_primary(h, engine::PrimaryStart::activated);
}

void World::ask_arbiter(std::size_t h, Generation generation, bool activate) {
  auto answer = engine::Verdict::unavailable;
  if (arbiter_blocked_[h] == 0) {
    answer = arbiter_.claim(h, generation, activate);
    if (arbiter_.exclusive() && !healed_ && rng_.chance(30)) {
      if (answer == engine::Verdict::granted) {
        coverage_.hit(Probe::grant_answer_lost);
        grant_lost_ = true;
      }
      answer = engine::Verdict::unavailable;
    }
  }
  const Ns delay = arbiter_.exclusive() ? rng_.range(ms(1), ms(100)) : rng_.range(us(1), ms(5));
  at(delay, EventKind::verdict, h, generation, static_cast<std::uint64_t>(answer));
}

void World::operator_call(std::size_t h, bool force) {
  Guard& guard = hosts_[h].guard;
  if (!guard.backup) return;
  if (force) {
    truth_.accept_loss();
    coverage_.hit(Probe::operator_forced);
  }
  arbiter_.approve(true);
  const auto answer = guard.backup->operator_failover(local(h), force);
  note("host {}: operator failover, force {}: {}", h, force, answer ? "accepted" : answer.error());
  if (!answer) arbiter_.approve(false);
  coverage_.hit(answer ? Probe::operator_failover : Probe::operator_refused);
}

}  // namespace remus::sim
