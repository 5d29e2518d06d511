// The primary's shell: carries out what the engine asks for, as the guard does with a real hypervisor and
// link.
#include <algorithm>

#include "world.hpp"

namespace remus::sim {

namespace action = engine::primary_action;

namespace {
template <typename... T>
struct Visitor : T... {
  using T::operator()...;
};
constexpr std::uint64_t page_bytes = 1'000;
}  // namespace

void World::act(std::size_t h, const engine::PrimaryAction& what) {
  Host& host = hosts_[h];
  Guard& guard = host.guard;
  std::visit(
      Visitor{
          [&](const action::BeginSession& begin) {
            guard.session = begin.session;
            guard.kept.clear();
            guard.session_on_link = true;
            send(h, {.kind = MessageKind::begin_session,
                     .session = begin.session,
                     .generation = begin.generation});
          },
          [&](const action::Synchronize& sync) {
            if (guard.operation.active) throw Violation("pre", "synchronization during a capture");
            guard.operation = {true,
                               true,
                               std::exchange(armed_[static_cast<std::size_t>(FaultKind::fail_sync)], false) ||
                                   host.guest.doomed,
                               ++numbers_,
                               sync.session,
                               0,
                               {},
                               now_};
            at(ms(rng_.range(5, 150)), EventKind::sync_pause, h, guard.operation.number);
          },
          [&](const action::Capture& capture) {
            if (guard.operation.active)
              throw Violation("S6", "a capture begins while another one is under way");
            guard.operation = {
                true,
                false,
                std::exchange(armed_[static_cast<std::size_t>(FaultKind::fail_capture)], false) ||
                    host.guest.doomed,
                ++numbers_,
                capture.session,
                capture.epoch,
                host.guest.now,
                now_};
            note("host {}: captures epoch {}", h, capture.epoch);
            begin_pause(h, capture.epoch);
            truth_.captured(capture.session, capture.epoch, host.guest.now);
            if (std::exchange(armed_[static_cast<std::size_t>(FaultKind::hang_capture)], false)) {
              coverage_.hit(Probe::hung_capture);
              return;
            }
            const Ns pause =
                now_ < slow_capture_until_ ? ms(rng_.range(20, 120)) : us(rng_.range(100, 4'000));
            at(pause, EventKind::pause_end, h, guard.operation.number);
          },
          [&](const action::Resend& resend) {
            note("host {}: sends again after {}", h, resend.after);
            guard.session_on_link = true;
            while (!guard.kept.empty() && guard.kept.front().first <= resend.after) guard.kept.pop_front();
            for (const auto& [epoch, snapshot] : guard.kept) send_epoch(h, epoch, snapshot);
          },
          [&](const action::Release& release) {
            note("host {}: releases up to {}", h, release.upto);
            truth_.released(guard.session, release.upto);
            while (!guard.kept.empty() && guard.kept.front().first <= release.upto) guard.kept.pop_front();
            release_output(h, release.upto);
            if (guard.primary->epochs_in_flight() + 1 >= config_.max_epochs_in_flight)
              coverage_.hit(Probe::pipeline_full);
          },
          [&](const action::SendHeartbeat& beat) {
            send(h, {.kind = MessageKind::heartbeat, .heartbeat = beat.heartbeat});
          },
          [&](const action::ClaimAlone& claim) {
            note("host {}: claims alone, generation {}", h, claim.generation);
            ask_arbiter(h, claim.generation, false);
          },
          [&](const action::GoAlone& alone) {
            note("host {}: goes alone, generation {}", h, alone.generation);
            truth_.takes(h, alone.generation);
            host.generation = alone.generation;
            host.alone = host.granted_alone = host.known = true;
            leave_protection(h);
            pass_output(h);
          },
          [&](const action::AbandonSession& abandon) {
            note("host {}: abandons session: {}", h, abandon.reason);
            leave_protection(h);
          },
          [&](const action::PassOutput&) {
            const Guard& other = hosts_[1 - h].guard;
            if (!host.granted_alone && other.exists && other.backup && other.backup->held()) {
              throw Violation("S2", "output passes while the backup holds an image it may activate");
            }
            note("host {}: output passes", h);
            host.alone = true;
            pass_output(h);
          },
          [&](const action::Fence& fence) {
            note("host {}: fenced by generation {}", h, fence.superseded_by);
            kill_guest(h);
            host.generation = std::max(host.generation, fence.superseded_by);
            host.known = false;
            guard.leaving = true;
          },
          [&](const action::StopGuest&) {
            note("host {}: stops its guest, to hand it over", h);
            at(us(rng_.range(100, 300'000)), EventKind::stop_guest, h);
          },
          [&](const action::SplitBrain& split) {
            if (!truth_.loss_accepted())
              throw Violation("S3", fmt::format("both run generation {}", split.generation));
            // The administrator ends one of them.
            kill_guest(h);
            host.known = false;
            guard.leaving = true;
          },
          [&](const action::DropLink& drop) {
            note("host {}: primary drops the link: {}", h, drop.reason);
            close(h, false);
            at(rng_.range(us(100), dial_period_), EventKind::dial, h);
          },
          [&](const action::End& end) {
            note("host {}: primary ends: {}", h, end.reason);
            if (guard.established) send(h, {.kind = MessageKind::goodbye, .goodbye = end.goodbye});
            leave_protection(h);
            host.known = false;
            if (end.goodbye == engine::Goodbye::unprotected) {
              coverage_.hit(Probe::unprotected);
              host.alone = host.granted_alone = true;
              pass_output(h);
            }
            guard.leaving = true;
          },
          [&](const action::StateChanged& change) {
            note("host {}: primary {} -> {}: {}", h, engine::to_string(change.from),
                 engine::to_string(change.to), change.reason);
            ++coverage_.primary[static_cast<std::size_t>(change.from)][static_cast<std::size_t>(change.to)];
            if (change.to == engine::PrimaryState::protected_) {
              if (failovers_ > 0 && !was_protected_) coverage_.hit(Probe::reprotected);
              was_protected_ = true;
            }
          },
      },
      what);
}

void World::leave_protection(std::size_t h) {
  Guard& guard = hosts_[h].guard;
  interrupt(h);
  guard.kept.clear();
  guard.session_on_link = false;
}

/// Domain::interrupt(): the capture or synchronization ends now, the guest runs on.
void World::interrupt(std::size_t h) {
  Guard& guard = hosts_[h].guard;
  if (!guard.operation.active) return;
  const bool capture = !guard.operation.synchronizing;
  guard.operation.active = false;
  end_pause(h);
  // The capture thread's word reaches the engine although nobody waits for it any more.
  if (capture && rng_.chance(500))
    at(us(rng_.range(1, 500)), EventKind::stale_result, h, guard.operation.session);
}

/// All memory is sent: the guest pauses for epoch 0, and its output is held from here on.
void World::sync_pause(std::size_t h, std::uint64_t number) {
  Host& host = hosts_[h];
  Operation& operation = host.guard.operation;
  if (!operation.active || operation.number != number || !host.guest.exists) return;
  begin_pause(h, 0);
  host.guest.hold = true;
  operation.snapshot = host.guest.now;
  const Ns pause = us(rng_.range(200, 6'000));
  at(pause, EventKind::pause_end, h, number);
}

void World::operation_ends(std::size_t h, std::uint64_t number) {
  Host& host = hosts_[h];
  Guard& guard = host.guard;
  Operation& operation = guard.operation;
  if (!operation.active || operation.number != number || !guard.primary) return;
  operation.active = false;
  end_pause(h);
  const Ns pause = now_ - operation.paused_at;
  const engine::CaptureCost cost{1, page_bytes, engine::Duration{pause}};
  if (operation.fails) {
    coverage_.hit(operation.synchronizing ? Probe::sync_failed : Probe::capture_failed);
    if (host.guest.doomed) guard.primary->guest_doomed(local(h));  // whoever fails looks for the reason first
    if (operation.synchronizing) {
      guard.primary->sync_failed(local(h), operation.session, "hypervisor");
    } else {
      guard.primary->capture_failed(local(h), operation.session, "hypervisor");
    }
    return;
  }
  if (operation.synchronizing) {
    truth_.captured(operation.session, 0, operation.snapshot);
    host.alone = host.granted_alone = false;
    host.known = true;
    guard.primary->synchronized(local(h), operation.session, cost);
  } else {
    guard.primary->captured(local(h), operation.session, operation.epoch, cost);
  }
  if (guard.primary->session() != operation.session) return;
  operation.snapshot.written = 0;
  for (std::size_t i = 0; i < disk_numbers; ++i) {
    if (operation.epoch == 0 || operation.snapshot.disk[i] != guard.sent_disk[i])
      operation.snapshot.written |= static_cast<std::uint8_t>(1U << i);
  }
  guard.sent_disk = operation.snapshot.disk;
  guard.kept.emplace_back(operation.epoch, operation.snapshot);
  if (guard.session_on_link) send_epoch(h, operation.epoch, operation.snapshot);
  at(us(rng_.range(1, 3'000)), EventKind::capture_ready, h, operation.session);
}

void World::send_epoch(std::size_t h, Epoch epoch, const Snapshot& snapshot) {
  if (hosts_[h].guard.connection < 0) return;
  const Session session = hosts_[h].guard.session;
  send(h, {.kind = MessageKind::epoch_part, .session = session, .epoch = epoch, .snapshot = snapshot});
  send(h, {.kind = MessageKind::epoch_end, .session = session, .epoch = epoch, .snapshot = snapshot},
       rng_.range(0, epoch_transfer_));
}

}  // namespace remus::sim
