// The primary: sessions, links and epochs. Going alone, fencing and ending: primary_decisions.cpp.
#include "engine/primary.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "engine/mutation.hpp"

namespace remus::engine {

namespace action = primary_action;

Primary::Primary(const Setup& setup, Time now)
    : config_{setup.config},
      exclusive_{setup.arbiter_exclusive},
      generation_{setup.generation},
      session_seed_{setup.seed},
      detector_{detection(config_), now},
      last_heard_{now},
      next_heartbeat_{now},
      pacing_{config_} {
  REMUS_ASSERT("pre", config_.max_epochs_in_flight > 0, "at least one epoch may be in flight");
  REMUS_ASSERT("pre", config_.heartbeat > Duration::zero(), "heartbeats have a period");
  REMUS_ASSERT("pre", config_.alone_after > config_.detect_max, "alone_after exceeds detect_max");
  switch (setup.start) {
    case PrimaryStart::fresh: break;
    case PrimaryStart::rescued:
      // Whatever the earlier guard had promised, its guest has run on without it: that is being alone, so it
      // must be granted and recorded as such. Under an exclusive arbiter the output stays shut until then.
      entangled_ = holding_ = true;
      state_ = PrimaryState::interrupted;
      last_heard_ = now - config_.alone_after;
      claim(now, generation_ + 1);
      break;
    case PrimaryStart::activated:
      entangled_ = alone_ = true;
      state_ = PrimaryState::alone;
      break;
  }
  asked_wake_ = next_deadline();
}

// --- the link ---

void Primary::link_up(Time now, const BackupHello& hello) {
  if (finished()) return;
  wake(now);
  if (link_) lose_link(now, "the link was replaced");
  if (supersedes_us(now, hello)) return settle(now);
  const bool deciding = hello.state == BackupState::claiming || hello.state == BackupState::activating;
  if (deciding || hello.state == BackupState::ended || (exclusive_ && claiming_)) {
    // Whoever is being granted the next generation must not find the old one in use again.
    act(action::DropLink{deciding    ? "the backup is about to activate"
                         : claiming_ ? "the arbiter is being asked whether this host may go on alone"
                                     : "the backup has ended its part"});
    return settle(now);
  }
  if (claim_floor_ == 0) claiming_.reset();  // a grant that comes now would be of yesterday's silence
  link_ = true;
  split_ = false;
  detector_.reset(now);
  last_heard_ = now;
  graces_ = 0;
  echo_ = {};
  next_heartbeat_ = now;
  if (!resume_session(now, hello)) {
    if (session_ != 0) abandon_session("the backup does not hold this session");
  }
  settle(now);
}

/// A peer that remembers a later generation than ours. True: the link is of no use now.
bool Primary::supersedes_us(Time now, const BackupHello& hello) {
  if (hello.state == BackupState::active) {
    backup_is_active(now, hello.generation);
    return true;
  }
  if (hello.generation <= generation_) return false;
  if (entangled_) {
    fence(hello.generation, "the backup has been active in a later generation");
  } else {
    // A left-over of an earlier life of this guest. Ours must be later than all that is remembered anywhere.
    claim_floor_ = hello.generation;
    act(action::DropLink{"the backup remembers a later generation of this guest"});
  }
  return true;
}

/// The backup still holds this session: go on where it stopped.
bool Primary::resume_session(Time now, const BackupHello& hello) {
  if (sync_ != Sync::done || hello.session != session_) return false;
  const bool usable = hello.state == BackupState::standby || hello.state == BackupState::suspecting ||
                      hello.state == BackupState::stale;
  if (!usable || hello.held > *captured_ || (committed_ && hello.held < *committed_)) return false;
  if (!committed_ || hello.held > *committed_) commit(now, hello.held);
  REMUS_ASSERT("S5", kept_.size() == *captured_ - hello.held, "every epoch the backup lacks is kept");
  act(action::Resend{hello.held});
  if (state_ != PrimaryState::protected_) {
    protected_since_ = now;
    change(PrimaryState::protected_,
           "the link is back, the backup holds epoch " + std::to_string(hello.held));
  }
  return true;
}

void Primary::link_down(Time now) {
  if (finished() || !link_) return;
  wake(now);
  lose_link(now, "the link is lost");
  settle(now);
}

void Primary::drop_link(Time now, const std::string& reason) {
  act(action::DropLink{reason});
  lose_link(now, reason);
}

void Primary::lose_link(Time now, const std::string& reason) {
  link_ = false;
  switch (sync_) {
    case Sync::none: break;
    case Sync::confirming: forget_session(); break;
    case Sync::running: fail_session(now, reason); break;
    case Sync::done: change(PrimaryState::interrupted, reason); break;
  }
}

void Primary::heartbeat(Time now, const Heartbeat& heartbeat) {
  if (finished() || !link_) return;
  wake(now);
  detector_.heard(now);
  last_heard_ = now;
  graces_ = 0;
  echo_ = std::max(echo_, heartbeat.sent);
  if (heartbeat.generation > generation_) {
    drop_link(now,
              "the backup's generation is later than ours");  // the next handshake tells what to do about it
  } else if (sync_ == Sync::confirming && heartbeat.session == session_) {
    confirm_session(now);
  }
  settle(now);
}

void Primary::acked(Time now, Session session, Epoch epoch) {
  if (finished() || !link_) return;
  wake(now);
  detector_.heard(now);
  last_heard_ = now;
  graces_ = 0;
  if (session == session_) {
    if (!captured_ || epoch > *captured_) {
      drop_link(now, "the backup acknowledges epoch " + std::to_string(epoch) + ", which was not captured");
    } else if (!committed_ || epoch > *committed_) {
      commit(now, epoch);
    }
  }
  settle(now);
}

void Primary::commit(Time now, Epoch epoch) {
  REMUS_ASSERT("S1", sync_ == Sync::done && captured_ && epoch <= *captured_,
               "only captured epochs are committed");
  while (!kept_.empty() && kept_.front().epoch <= epoch) {
    kept_bytes_ -= kept_.front().bytes;
    kept_.pop_front();
  }
  committed_ = epoch;
  committed_at_ = now;
  alone_ = false;
  release(epoch);
  if (state_ == PrimaryState::synchronizing) {
    protected_since_ = now;
    change(PrimaryState::protected_, "the backup holds the guest");
  }
}

void Primary::release(Epoch upto) {
  REMUS_ASSERT("S3", !finished(), "a superseded or ended primary releases nothing");
  act(action::Release{upto});
}

void Primary::backup_refused(Time now, const std::string& reason) {
  if (finished()) return;
  wake(now);
  if (sync_ == Sync::running || sync_ == Sync::done) {
    fail_session(now, reason);
  } else {
    back_off(now);
  }
  if (link_) drop_link(now, reason);
  settle(now);
}

// --- sessions ---

bool Primary::wants_session() const noexcept {
  return link_ && session_ == 0 && !finished() && !(leaving_ && !holding_) && !(doomed_ && !leaving_);
}

void Primary::session_if_due(Time now) {
  if (sync_ == Sync::confirming && now >= begun_at_ + config_.alone_after) {
    drop_link(now, "the backup does not confirm the session");
    return;
  }
  // While output is held a new session is begun at once even if synchronizing must wait: it makes the old
  // image void.
  if (wants_session() && (holding_ || now >= retry_at_)) begin_session(now);
}

void Primary::begin_session(Time now) {
  REMUS_ASSERT("pre", link_ && session_ == 0, "a session begins on a link, after the one before it ended");
  session_ = next_session();
  sync_ = Sync::confirming;
  begun_at_ = now;
  act(action::BeginSession{session_, generation_});
  if (!holding_ || mutated(Mutation::s2_pass_before_confirmed)) confirm_session(now);
}

/// The backup's old image is void (or there never was one): nothing but this host's guest can go on.
void Primary::confirm_session(Time now) {
  if (holding_) pass_output();
  if (leaving_) return end(Goodbye::unprotected, "protection was taken off");
  if (now >= retry_at_) return start_synchronization();
  forget_session();
  change(unprotected_state(), "waiting before synchronizing again");
}

void Primary::start_synchronization() {
  sync_ = Sync::running;
  act(action::Synchronize{session_});
  change(PrimaryState::synchronizing, "a backup is there");
}

void Primary::pass_output() {
  holding_ = false;
  act(action::PassOutput{});
}

void Primary::synchronized(Time now, Session session, CaptureCost cost) {
  if (finished() || session != session_ || sync_ != Sync::running) return;
  wake(now);
  sync_ = Sync::done;
  holding_ = entangled_ = true;
  captured_ = 0;
  kept_.push_back({0, cost.bytes});
  kept_bytes_ = cost.bytes;
  ready_ = capturing_ = false;
  pacing_.reset(now);
  pacing_.resumed(now, cost.pause);
  settle(now);
}

void Primary::sync_failed(Time now, Session session, const std::string& reason) {
  if (finished() || session != session_ || sync_ != Sync::running) return;
  wake(now);
  fail_session(now, reason);
  settle(now);
}

/// The session is given up. Before epoch 0 the backup has no image, so the guest simply goes on unprotected;
/// after it the backup may hold what it can activate: output stays held until that is void.
void Primary::fail_session(Time now, const std::string& reason) {
  const bool held = holding_;
  // With output held the first new try comes at once: until it begins, the guest's output waits.
  const bool at_once = held && failures_ == 0;
  back_off(now);
  if (at_once) retry_at_ = now;
  abandon_session(reason);
  if (!held) pass_output();  // the capture thread may have begun to hold for epoch 0
  change(held ? PrimaryState::interrupted : unprotected_state(), reason);
}

void Primary::back_off(Time now) {
  const std::uint32_t doublings = std::min(failures_++, 16U);
  retry_at_ = now + std::min(config_.resync_min * (1U << doublings), config_.resync_max);
}

void Primary::abandon_session(const std::string& reason) {
  act(action::AbandonSession{reason});
  forget_session();
  if (holding_) change(PrimaryState::interrupted, reason);
}

void Primary::forget_session() {
  session_ = 0;
  sync_ = Sync::none;
  captured_.reset();
  committed_.reset();
  kept_.clear();
  kept_bytes_ = 0;
  ready_ = capturing_ = now_ = waited_while_capturing_ = false;
}

Session Primary::next_session() noexcept {
  Session session = 0;
  while (session == 0) {  // splitmix64 (Steele, Lea, Flood 2014)
    std::uint64_t z = (session_seed_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    session = z ^ (z >> 31U);
  }
  return session;
}

// --- epochs ---

void Primary::capture_ready(Time now) {
  if (finished() || sync_ != Sync::done || capturing_) return;
  wake(now);
  ready_ = true;
  settle(now);
}

void Primary::output_waiting(Time now) {
  if (finished() || sync_ != Sync::done) return;
  wake(now);
  if (capturing_) waited_while_capturing_ = true;
  pacing_.output_waiting(now);
  settle(now);
}

void Primary::checkpoint_now(Time now) {
  if (finished() || sync_ != Sync::done) return;
  wake(now);
  now_ = true;
  settle(now);
}

bool Primary::wants_capture() const noexcept {
  const bool room = kept_.size() < config_.max_epochs_in_flight &&
                    (kept_.empty() || kept_bytes_ < config_.max_bytes_in_flight);
  return sync_ == Sync::done && ready_ && !capturing_ && room && !doomed_;
}

Time Primary::capture_due() const noexcept {
  return now_ ? Time::min() : pacing_.next();
}

/// A capture of a doomed guest ends with it.
bool Primary::capture_bounded() const noexcept {
  return capturing_ && !doomed_ && !mutated(Mutation::s6_hung_capture_kept);
}

void Primary::capture_if_due(Time now) {
  if (capture_bounded() && now >= capture_since_ + config_.capture_max)
    return fail_session(now, "a capture did not come to an end in time");
  if (!wants_capture() || now < capture_due()) return;
  REMUS_ASSERT("S6", !capturing_, "one capture at a time: each pause ends before the next");
  capturing_ = true;
  capture_since_ = now;
  ready_ = now_ = waited_while_capturing_ = false;
  act(action::Capture{session_, *captured_ + 1});
}

void Primary::captured(Time now, Session session, Epoch epoch, CaptureCost cost) {
  if (finished() || session != session_ || !capturing_) return;
  wake(now);
  REMUS_ASSERT("pre", captured_ && epoch == *captured_ + 1, "epochs are captured in order");
  capturing_ = false;
  captured_ = epoch;
  kept_.push_back({epoch, cost.bytes});
  kept_bytes_ += cost.bytes;
  REMUS_ASSERT("pre", kept_.size() <= config_.max_epochs_in_flight, "the pipeline is bounded");
  if (mutated(Mutation::s1_release_before_ack)) release(epoch);
  pacing_.resumed(now, cost.pause);
  if (waited_while_capturing_) pacing_.output_waiting(now);  // perhaps of the epoch that now runs
  settle(now);
}

void Primary::capture_failed(Time now, Session session, const std::string& reason) {
  if (finished() || session != session_ || !capturing_) return;
  wake(now);
  if (doomed_)
    capturing_ = false;  // what was captured before is what goes on
  else
    fail_session(now, reason);
  settle(now);
}

// --- time ---

void Primary::heartbeat_if_due(Time now) {
  if (now < next_heartbeat_) return;
  next_heartbeat_ =
      now + config_.heartbeat;  // also our pulse without a link: a sleep is noticed by a late one
  if (link_) act(action::SendHeartbeat{{session_, generation_, now, echo_}});
}

void Primary::tick(Time now) {
  if (finished()) return;
  wake(now);
  if (link_ && detector_.silent(now)) {
    drop_link(now, "the backup is silent");
  }
  settle(now);
}

/// Everything that is due is done here, at the end of every event; what is left is due later.
void Primary::settle(Time now) {
  if (!finished()) session_if_due(now);
  if (!finished()) capture_if_due(now);
  if (!finished()) session_if_due(now);  // a capture given up leads to a new session
  if (!finished()) claim_if_due(now);
  if (!finished()) hand_over_if_possible();
  if (!finished()) heartbeat_if_due(now);
  if (state_ == PrimaryState::protected_ && now >= protected_since_ + config_.resync_max) failures_ = 0;
  asked_wake_ = next_deadline();
}

Time Primary::next_deadline() const {
  if (finished()) return Time::max();
  Time next = next_heartbeat_;
  if (link_) next = std::min(next, detector_.deadline());
  if (wants_session() && !holding_) next = std::min(next, retry_at_);
  if (capture_bounded()) next = std::min(next, capture_since_ + config_.capture_max);
  if (wants_capture()) next = std::min(next, capture_due());
  if (const auto due = claim_due()) next = std::min(next, *due);
  return next;
}

std::vector<PrimaryAction> Primary::take_actions() {
  return std::exchange(actions_, {});
}

void Primary::change(PrimaryState to, std::string reason) {
  if (state_ == to) return;
  act(action::StateChanged{state_, to, std::move(reason)});
  state_ = to;
  unanswered_ = false;
}

}  // namespace remus::engine
