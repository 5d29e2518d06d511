// The primary: what it decides when the other side is silent, or speaks for the guest itself.
#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "engine/mutation.hpp"
#include "engine/primary.hpp"

namespace remus::engine {

namespace action = primary_action;

bool Primary::finished() const noexcept {
  return state_ == PrimaryState::fenced || state_ == PrimaryState::ended;
}

PrimaryState Primary::unprotected_state() const noexcept {
  return alone_ ? PrimaryState::alone : PrimaryState::idle;
}

/// Forgives our own sleep: what waits in the socket must be read, and the link tried, before silence is the
/// peer's. Putting "alone" off is always safe; doing it early never is.
void Primary::wake(Time now) {
  const Duration asleep = detector_.tick(now, asked_wake_, config_.detect_min / 2);
  if (asleep == Duration::zero()) return;
  last_heard_ = std::min(last_heard_ + asleep, now);
  capture_since_ = std::min(capture_since_ + asleep, now);
  begun_at_ = std::min(begun_at_ + asleep, now);
  const Time earliest = now + 2 * config_.detect_min - config_.alone_after;
  if (graces_ < max_graces && last_heard_ < earliest) {
    ++graces_;
    last_heard_ = earliest;
  }
  asked_wake_ = now;
}

std::optional<Time> Primary::claim_due() const noexcept {
  if (claiming_ || finished()) return std::nullopt;
  if (claim_floor_ >= generation_ && claim_floor_ != 0) return claim_retry_at_;
  if (state_ != PrimaryState::interrupted || (doomed_ && !leaving_)) return std::nullopt;
  return std::max(claim_retry_at_, last_heard_ + config_.alone_after);
}

void Primary::claim_if_due(Time now) {
  const auto due = claim_due();
  if (!due || now < *due) return;
  if (mutated(Mutation::s2_alone_without_grant)) return go_alone(now, generation_ + 1);
  claim(now, std::max(generation_, claim_floor_) + 1);
}

void Primary::claim(Time now, Generation generation) {
  REMUS_ASSERT("S3", generation > generation_, "generations only rise");
  claiming_ = generation;
  claim_retry_at_ = now + config_.claim_retry;
  act(action::ClaimAlone{generation});
}

void Primary::verdict(Time now, Generation generation, Verdict verdict) {
  if (finished() || claiming_ != generation) return;
  wake(now);
  claiming_.reset();
  const bool adopting = claim_floor_ >= generation_ && claim_floor_ != 0;
  if (verdict != Verdict::unavailable) unanswered_ = false;
  switch (verdict) {
    case Verdict::unavailable:
      claim_retry_at_ = now + config_.claim_retry;
      say_unanswered();
      break;
    case Verdict::denied:
      if (adopting) {
        end(Goodbye::unprotected, "another host holds a later generation of this guest");
      } else {
        fence(generation, "the arbiter gave the next generation to another host");
      }
      break;
    case Verdict::granted:
      // A grant that is not exclusive is only an opinion: if the backup came back meanwhile, it is not
      // needed.
      if (exclusive_ || adopting || state_ == PrimaryState::interrupted) go_alone(now, generation);
      break;
  }
  settle(now);
}

/// Asking goes on every claim_retry; it is said once, until the arbiter answers or the state is another one.
void Primary::say_unanswered() {
  if (std::exchange(unanswered_, true)) return;
  std::string reason = "the arbiter cannot be asked now whether this host may go on alone; ";
  reason += holding_ ? "the guest's output is held until it answers" : "it is asked again until it answers";
  act(action::StateChanged{state_, state_, std::move(reason)});
}

void Primary::go_alone(Time now, Generation generation) {
  REMUS_ASSERT("S3", generation > generation_, "generations only rise");
  generation_ = generation;
  claim_floor_ = 0;
  alone_ = true;
  holding_ = false;
  retry_at_ = now;
  forget_session();
  act(action::GoAlone{generation});
  change(PrimaryState::alone, "no backup; the arbiter granted generation " + std::to_string(generation));
  if (leaving_) end(Goodbye::unprotected, "protection was taken off");
}

void Primary::backup_is_active(Time now, Generation generation) {
  if (finished()) return;
  wake(now);
  if (link_) lose_link(now, "the other side is active");
  if (!entangled_) {
    end(Goodbye::unprotected,
        "the other host runs a guest of this name in generation " + std::to_string(generation));
  } else if (generation > generation_) {
    fence(generation, "the backup is active in a later generation");
  } else {
    if (generation == generation_) {
      split_ = true;
      act(action::SplitBrain{generation});
      act(action::StateChanged{state_, state_,
                               "both hosts run this guest in generation " + std::to_string(generation)});
    }
    act(action::DropLink{"the other host runs this guest as well"});
  }
  settle(now);
}

void Primary::fence(Generation by, const std::string& reason) {
  REMUS_ASSERT("S3", by > generation_, "only a later generation supersedes this one");
  if (mutated(Mutation::s3_fence_ignored)) return go_alone(last_heard_, by + 1);
  link_ = false;
  claiming_.reset();
  forget_session();
  act(action::Fence{by});
  change(PrimaryState::fenced, reason);
}

void Primary::guest_doomed(Time now) {
  if (finished() || doomed_ || mutated(Mutation::s5_doomed_guest_resynchronized)) return;
  wake(now);
  doomed_ = true;
  settle(now);
}

/// Only while the backup is there: whoever is gone cannot go on with it.
void Primary::hand_over_if_possible() {
  if (!doomed_ || stopping_ || leaving_ || !link_ || state_ != PrimaryState::protected_) return;
  stopping_ = true;
  act(action::StopGuest{});
}

void Primary::guest_gone(Time now, bool in_good_order) {
  if (finished()) return;
  wake(now);
  end(in_good_order ? Goodbye::guest_stopped : Goodbye::guest_crashed,
      in_good_order ? "the guest was shut down" : "the guest's process died");
  settle(now);
}

void Primary::unprotect(Time now) {
  if (finished()) return;
  wake(now);
  leaving_ = true;
  if (session_ != 0) abandon_session("protection is being taken off");
  if (!holding_) end(Goodbye::unprotected, "protection was taken off");
  settle(now);
}

void Primary::end(Goodbye goodbye, const std::string& reason) {
  link_ = false;
  claiming_.reset();
  forget_session();
  act(action::End{goodbye, reason});
  change(PrimaryState::ended, reason);
}

}  // namespace remus::engine
