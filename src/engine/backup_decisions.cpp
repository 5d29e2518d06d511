// The backup: what it believes of a silent primary, and when that is enough to activate.
#include <algorithm>

#include "base/assert.hpp"
#include "engine/backup.hpp"
#include "engine/mutation.hpp"

namespace remus::engine {

namespace action = backup_action;

/// Nothing more is decided here: the guest runs on this host, or protection ended.
bool Backup::finished() const noexcept {
  return state_ == BackupState::active || state_ == BackupState::ended;
}

/// A grant is on its way, or here, that binds: an exclusive arbiter's, or one an operator insisted on.
bool Backup::bound() const noexcept {
  return (claiming_ && (exclusive_ || forced_)) || state_ == BackupState::activating || finished();
}

/// Forgives our own sleep in what we believe of others; the lease knows no excuse.
void Backup::wake(Time now) {
  const Duration slack = config_.detect_min / 2;
  const Duration asleep = detector_.tick(now, asked_wake_, slack);
  static_cast<void>(reports_.tick(now, asked_wake_, slack));
  if (asleep > Duration::zero()) asked_wake_ = now;
  asked_after_ = now;
}

Time Backup::lease_until() const noexcept {
  if (!lease_from_) return Time{};
  const Duration margin = std::max(config_.alone_after / 10, 2 * config_.heartbeat);
  return *lease_from_ + config_.alone_after - margin;
}

bool Backup::lease_valid(Time now) const noexcept {
  return now < lease_until() || mutated(Mutation::s2_lease_ignored);
}

bool Backup::all_silent(Time now) const noexcept {
  if (link_) return false;
  if (gone_ || mutated(Mutation::s2_activate_despite_report)) return true;
  return reports_.silent(now);
}

void Backup::host_report(Time now, const HostReport& report) {
  if (finished()) return;
  wake(now);
  seen_generation_ = std::max(seen_generation_, report.generation);
  // A guard without its guest has yet to say what became of it, unless it has said so.
  const bool nothing_left = !report.guest_running && (!report.guard_running || told_gone_);
  if (!nothing_left) {
    reports_.heard(now);
    dead_in_time_ = gone_ = false;
    if (!forced_) operator_asked_ = false;
  }
  // While the link speaks it is the better witness, except of a later generation: that nobody makes up.
  const bool link_speaks = link_ && !detector_.silent(now);
  if (usable() && !bound() && !mutated(Mutation::s2_activate_despite_report)) {
    if (report.generation > generation_) {
      go_stale("the primary's host reports a later generation");
    } else if (!link_speaks && report.alone) {
      go_stale("the primary's host reports that the guest runs alone");
    } else if (!link_speaks && report.guest_running && !report.guard_running) {
      go_stale("the primary's host reports that the guest has been running without its guard");
    } else if (!nothing_left && claiming_) {
      cancel_claim("the primary's host reports a living guest");
    } else if (nothing_left && !link_ && report.generation == generation_) {
      gone_ = true;
    }
  }
  settle(now);
}

/// Looks at all that is known and draws the conclusion: standby, suspecting, stale or claiming.
void Backup::judge(Time now) {
  if (!usable() || claiming_) return;
  if (state_ != BackupState::suspecting && state_ != BackupState::standby) return;
  const bool silent = all_silent(now);
  // Silent everywhere while the lease is valid: then (fail-stop) the primary was dead before it could go
  // alone, and that stays true until a sign of life says otherwise.
  if (silent && (exclusive_ || lease_valid(now))) dead_in_time_ = true;
  if (!exclusive_ && !dead_in_time_ && !lease_valid(now)) {
    go_stale("the primary may have gone on alone");
    return;
  }
  if (silent && (dead_in_time_ || operator_asked_) && now >= claim_retry_at_) {
    claim(now, generation_ + 1,
          gone_ ? "the guest's process is gone on the primary" : "the primary is silent");
  }
}

void Backup::go_stale(const std::string& reason) {
  claiming_.reset();
  dead_in_time_ = operator_asked_ = gone_ = false;
  change(BackupState::stale, reason);
}

void Backup::claim(Time now, Generation generation, const std::string& reason) {
  REMUS_ASSERT("S3", generation > generation_, "generations only rise");
  claiming_ = generation;
  before_claim_ = state_ == BackupState::stale ? BackupState::stale : BackupState::suspecting;
  claim_retry_at_ = now + config_.claim_retry;
  act(action::ClaimActivation{generation});
  change(BackupState::claiming, reason);
}

void Backup::cancel_claim(const std::string& reason) {
  claiming_.reset();
  change(BackupState::suspecting, reason);
}

void Backup::verdict(Time now, Generation generation, Verdict verdict) {
  if (finished() || claiming_ != generation) return;
  wake(now);
  claiming_.reset();
  switch (verdict) {
    case Verdict::granted:
      claimed_ = generation;
      change(BackupState::activating,
             "generation " + std::to_string(generation) + " is granted to this host");
      activate_if_applied();
      break;
    case Verdict::denied:
      forced_ = false;
      seen_generation_ = std::max(seen_generation_, generation);
      go_stale("the arbiter gave the next generation to another host");
      break;
    case Verdict::unavailable:
      forced_ = false;
      claim_retry_at_ = now + config_.claim_retry;
      change(before_claim_, "the arbiter does not grant an activation now");
      break;
  }
  settle(now);
}

/// Activation waits until all that was acknowledged is in the image: whoever was told "held" finds it there.
void Backup::activate_if_applied() {
  if (state_ != BackupState::activating || activating_) return;
  if (!applied_) return;
  if (applied_ != held_ && !mutated(Mutation::s5_activate_before_applied)) return;
  REMUS_ASSERT("S2", usable(), "only a whole image is activated");
  REMUS_ASSERT("S3", claimed_ > generation_, "generations only rise");
  activating_ = true;
  const Generation generation = mutated(Mutation::s3_generation_not_raised) ? generation_ : claimed_;
  act(action::Activate{generation, *applied_ + (mutated(Mutation::s2_activate_torn) ? 1 : 0)});
}

void Backup::activated(Time now) {
  if (state_ != BackupState::activating || !activating_) return;
  wake(now);
  generation_ = claimed_;
  change(BackupState::active, "the guest runs here");
  settle(now);
}

void Backup::activation_failed(Time now, const std::string& reason) {
  if (state_ != BackupState::activating || !activating_) return;
  wake(now);
  // The generation is spent: it was recorded, and nobody can say for certain that the guest never ran.
  generation_ = claimed_;
  activating_ = forced_ = false;
  go_stale("activation failed: " + reason);
  settle(now);
}

std::expected<void, std::string> Backup::operator_failover(Time now, bool force) {
  const auto refuse = [](std::string reason) { return std::unexpected(std::move(reason)); };
  if (finished())
    return refuse(state_ == BackupState::active ? "the guest runs here already" : "protection has ended");
  if (state_ == BackupState::activating) return refuse("an activation is under way");
  if (!usable()) return refuse("this host holds no whole image of the guest");
  wake(now);
  if (!force) {
    if (link_ && !detector_.silent(now)) return refuse("the primary is alive: its link is up");
    if (state_ == BackupState::stale) {
      return refuse("what this host holds may be older than what the guest has shown since (" + reason_ +
                    "); force the failover to accept that loss");
    }
    if (!all_silent(now)) return refuse("the primary may be alive: its host has spoken a moment ago");
    operator_asked_ = true;
    claim_retry_at_ = now;
    settle(now);
    return {};
  }
  if (link_) drop_link(now, "an operator forces the failover");
  operator_asked_ = forced_ = true;
  claim(now, std::max(generation_, seen_generation_) + 1, "an operator forces the failover");
  settle(now);
  return {};
}

}  // namespace remus::engine
