// The backup: link, sessions and epochs. Suspecting, claiming and activating: backup_decisions.cpp.
#include "engine/backup.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "engine/mutation.hpp"

namespace remus::engine {

namespace action = backup_action;

Backup::Backup(const Setup& setup, Time now)
    : config_{setup.config},
      exclusive_{setup.arbiter_exclusive},
      generation_{setup.generation},
      seen_generation_{setup.generation},
      detector_{detection(config_), now},
      reports_{detection(config_), now},
      next_heartbeat_{now} {
  REMUS_ASSERT("pre", config_.max_epochs_in_flight > 0, "at least one epoch may be in flight");
  REMUS_ASSERT("pre", config_.heartbeat > Duration::zero(), "heartbeats have a period");
  REMUS_ASSERT("pre", config_.alone_after > config_.detect_max, "alone_after exceeds detect_max");
  asked_wake_ = next_deadline();
}

// --- the link ---

void Backup::link_up(Time now) {
  wake(now);
  if (link_) lose_link(now, "the link was replaced");
  if (bound()) {
    // What the arbiter grants us must not be undone by a primary that turns up while we ask or activate.
    act(action::DropLink{"this host is about to activate, or has"});
    return settle(now);
  }
  if (usable() && unapplied() > 2 * Epoch{config_.max_epochs_in_flight}) {
    // Refused, yet it is a sign of life.
    reports_.touch(now);
    dead_in_time_ = gone_ = operator_asked_ = false;
    if (claiming_) cancel_claim("the primary is back");
    act(action::DropLink{"the image lags too far behind what is held"});
    return settle(now);
  }
  if (claiming_) cancel_claim("the primary is back");
  link_ = true;
  told_gone_ = false;
  detector_.reset(now);
  reports_.touch(now);
  echo_ = {};
  dead_in_time_ = gone_ = operator_asked_ = false;
  acked_ = held_;  // hello() said so
  next_heartbeat_ = now;
  settle(now);
}

void Backup::link_down(Time now) {
  if (!link_) return;
  wake(now);
  // A closed connection is a sign of life of the peer's kernel: its host's reports must speak, or be missed,
  // after it.
  reports_.touch(now);
  lose_link(now, "the link is lost");
  settle(now);
}

void Backup::drop_link(Time now, const std::string& reason) {
  act(action::DropLink{reason});
  lose_link(now, reason);
}

void Backup::lose_link(Time now, const std::string& reason) {
  link_ = false;
  // Without any rhythm of reports known, give the other path its full time to speak up.
  if (!reports_.knows_rhythm()) reports_.touch(now);
  if (session_ != 0) act(action::DiscardTorn{});
  if (mutated(Mutation::s5_acked_epoch_dropped) && held_ && *held_ > 0 && applied_ != held_) {
    held_ = *held_ - 1;
  }
  if (state_ == BackupState::synchronizing) {
    session_ = 0;
    change(BackupState::empty, reason);
  } else if (state_ == BackupState::standby) {
    change(BackupState::suspecting, reason);
  }
}

void Backup::primary_spoke(Time now) {
  detector_.heard(now);
}

void Backup::traffic(Time now) {
  if (!link_ || finished()) return;
  wake(now);
  detector_.touch(now);
}

void Backup::heartbeat(Time now, const Heartbeat& heartbeat) {
  if (!link_ || finished()) return;
  wake(now);
  if (heartbeat.echo > now) {
    drop_link(now, "the primary echoes a time that has not been");
    return settle(now);
  }
  primary_spoke(now);
  echo_ = std::max(echo_, heartbeat.sent);
  seen_generation_ = std::max(seen_generation_, heartbeat.generation);
  if (heartbeat.generation > generation_) {
    if (usable()) go_stale("the primary has gone on in a later generation");
  } else if (heartbeat.generation < generation_) {
    drop_link(now, "the primary's generation is superseded");
  } else if (session_ != 0 && heartbeat.session == session_) {
    if (heartbeat.echo != Time{}) lease_from_ = std::max(lease_from_.value_or(Time{}), heartbeat.echo);
    const bool doubting = state_ == BackupState::suspecting || state_ == BackupState::stale;
    if (doubting && (exclusive_ || lease_valid(now))) {
      change(BackupState::standby, "the primary speaks in this session");
    }
  }
  settle(now);
}

void Backup::session_begin(Time now, Session session, Generation generation) {
  if (!link_ || finished()) return;
  wake(now);
  primary_spoke(now);
  if (generation < generation_) {
    drop_link(now, "the primary's generation is superseded");
    return settle(now);
  }
  seen_generation_ = std::max(seen_generation_, generation);
  generation_ = generation;
  session_ = session;
  held_.reset();
  acked_.reset();
  applied_.reset();
  lease_from_.reset();
  next_heartbeat_ = now;  // the primary waits for us to say that the old image is void
  change(BackupState::synchronizing, "a session begins");
  settle(now);
}

void Backup::epoch_whole(Time now, Session session, Epoch epoch) {
  if (!link_ || finished() || session_ == 0 || session != session_) return;
  wake(now);
  primary_spoke(now);
  const Epoch next = held_ ? *held_ + 1 : 0;
  if (epoch > next) {
    drop_link(now, "epoch " + std::to_string(epoch) + " came instead of " + std::to_string(next));
  } else if (epoch < next) {
    if (acked_) act(action::SendAck{session_, *acked_});  // sent twice, because an acknowledgement was lost
  } else {
    held_ = epoch;
    act(action::Apply{session_, epoch});
    acknowledge();
    if (state_ == BackupState::synchronizing) {
      change(BackupState::standby, "epoch 0 is whole");
    }
  }
  settle(now);
}

/// Acknowledged as soon as whole, unless the image lags: what is acknowledged and not applied is bounded, so
/// that a slow image slows the primary down instead of filling memory.
void Backup::acknowledge() {
  if (!link_ || !held_) return;
  const Epoch room = config_.max_epochs_in_flight;
  Epoch upto = std::min(*held_, applied_ ? *applied_ + room : room - 1);
  if (acked_ && upto <= *acked_) return;
  REMUS_ASSERT("S1", upto <= *held_, "only whole epochs are acknowledged");
  if (mutated(Mutation::s1_ack_before_whole) && upto > 0) ++upto;
  acked_ = upto;
  act(action::SendAck{session_, upto});
}

Epoch Backup::unapplied() const noexcept {
  if (!held_) return 0;
  return applied_ ? *held_ - *applied_ : *held_ + 1;
}

// --- the image ---

void Backup::epoch_applied(Time now, Session session, Epoch epoch) {
  if (finished() || session_ == 0 || session != session_) return;
  wake(now);
  REMUS_ASSERT("S5", held_ && epoch <= *held_, "only whole epochs reach the image");
  REMUS_ASSERT("S5", epoch == (applied_ ? *applied_ + 1 : 0), "epochs reach the image in order");
  applied_ = epoch;
  acknowledge();
  activate_if_applied();
  settle(now);
}

void Backup::apply_failed(Time now, Session session, const std::string& reason) {
  if (finished() || session_ == 0 || session != session_) return;
  wake(now);
  give_up_image("the image is damaged: " + reason, BackupState::empty);
  if (link_) drop_link(now, "the image is damaged");
  settle(now);
}

void Backup::standby_lost(Time now, const std::string& reason) {
  if (finished()) return;
  wake(now);
  give_up_image("the standby is gone: " + reason, BackupState::empty);
  if (link_) drop_link(now, "the standby is gone");
  settle(now);
}

void Backup::give_up_image(const std::string& reason, BackupState to) {
  act(action::DiscardStandby{reason});
  if (activating_) generation_ = claimed_;  // spent, as when an activation fails
  session_ = 0;
  held_.reset();
  acked_.reset();
  applied_.reset();
  lease_from_.reset();
  claiming_.reset();
  dead_in_time_ = operator_asked_ = forced_ = gone_ = told_gone_ = activating_ = false;
  change(to, reason);
}

void Backup::goodbye(Time now, Goodbye reason) {
  if (!link_ || finished()) return;
  wake(now);
  switch (reason) {
    case Goodbye::unprotected:
    case Goodbye::guest_stopped:
      link_ = false;
      give_up_image("the primary said goodbye: " + std::string{to_string(reason)}, BackupState::ended);
      break;
    case Goodbye::guest_crashed:
      drop_link(now, "the guest's process died on the primary");
      gone_ = told_gone_ = true;
      break;
  }
  settle(now);
}

void Backup::unprotect(Time now) {
  if (finished() || state_ == BackupState::activating) return;
  wake(now);
  if (link_) drop_link(now, "protection was taken off here");
  give_up_image("protection was taken off here", BackupState::ended);
  settle(now);
}

// --- time ---

void Backup::heartbeat_if_due(Time now) {
  if (now < next_heartbeat_) return;
  next_heartbeat_ =
      now + config_.heartbeat;  // also our pulse without a link: a sleep is noticed by a late one
  if (link_) act(action::SendHeartbeat{{session_, generation_, now, echo_}});
}

void Backup::tick(Time now) {
  if (finished()) return;
  wake(now);
  if (link_ && detector_.silent(now)) drop_link(now, "the primary is silent");
  settle(now);
}

void Backup::settle(Time now) {
  if (!finished()) {
    judge(now);
    heartbeat_if_due(now);
  }
  asked_wake_ = next_deadline();
}

Time Backup::next_deadline() const {
  if (finished()) return Time::max();
  // Whatever else is due (the lease's end, the witnesses' silence, another try) is noticed within one pulse.
  Time next = next_heartbeat_;
  if (link_) next = std::min(next, detector_.deadline());
  if (state_ == BackupState::suspecting && !claiming_) {
    const Time due = std::max(reports_.deadline(), claim_retry_at_);
    if (due > asked_after_) next = std::min(next, due);
  }
  return next;
}

std::vector<BackupAction> Backup::take_actions() {
  return std::exchange(actions_, {});
}

BackupHello Backup::hello() const noexcept {
  // A claim that a returning primary would cancel is not worth mentioning.
  const bool firm = state_ != BackupState::claiming || bound();
  return {generation_, firm ? state_ : BackupState::suspecting, session_, held_.value_or(0)};
}

void Backup::change(BackupState to, std::string reason) {
  reason_ = reason;
  if (state_ == to) return;
  act(action::StateChanged{state_, to, std::move(reason)});
  state_ = to;
}

}  // namespace remus::engine
