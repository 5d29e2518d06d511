// The primary's half of the protocol: when to checkpoint, when output may leave, what to do when the backup
// is gone.
//
//   capture_ready ─▶ [pacing] ─▶ Capture k ─▶ captured k ─▶ (shell encodes, sends) ─▶ ack k ─▶ Release k
//                                   │ pipeline full: the next Capture waits                 (S1)
//   link lost ─▶ interrupted: output held, epochs kept ─┬─ link back, session known: Resend from held+1
//                                                       └─ alone_after: ClaimAlone ─ granted ─▶ alone:
//                                                          output passes
//
// Sans-I/O: call the event functions with the time; then carry out take_actions() in order; call tick() at
// next_deadline() at the latest. Not thread-safe; one owner. State diagram and proof sketch: docs/engine.md.
//
// What the shell must keep (the engine's proof of S1 and S2 rests on it):
// - No epoch may become whole on the backup before synchronized() / captured() has been called for it.
// - After a DropLink, and after link_down(), nothing of that connection reaches the engine any more.
// - Actions of one list are carried out in order; GoAlone's record is on disk before the next one begins.
// - Every ClaimAlone is answered by exactly one verdict() within bounded time (`unavailable` when in doubt).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/detector.hpp"
#include "engine/pacing.hpp"
#include "engine/types.hpp"

namespace remus::engine {

namespace primary_action {
/// Tell the backup that a session begins: from then on its old image is void. It answers by a heartbeat
/// naming it.
struct BeginSession {
  Session session;
  Generation generation;
};
/// (Re)synchronize the backup: all memory, then the pause that makes epoch 0. Output is held from that pause
/// on. The shell answers with synchronized() or sync_failed().
struct Synchronize {
  Session session;
};
/// End the running epoch with a checkpoint. Answer: captured() or capture_failed(); then capture_ready().
struct Capture {
  Session session;
  Epoch epoch;
};
/// Send again, whole and in order, every kept epoch > `after`.
struct Resend {
  Epoch after;
};
/// The backup holds all epochs ≤ `upto`: let their output go, free their buffers.
struct Release {
  Epoch upto;
};
struct SendHeartbeat {
  Heartbeat heartbeat;
};
/// Ask the arbiter whether this host may go on alone with `generation`. Answer by verdict().
struct ClaimAlone {
  Generation generation;
};
/// Record `generation` and "alone" durably, leave checkpointing, free all buffers, let all output pass. The
/// guest runs on.
struct GoAlone {
  Generation generation;
};
/// Leave checkpointing and throw the session's buffers away; the guest runs on; output keeps the mode it has.
struct AbandonSession {
  std::string reason;
};
/// The backup cannot activate: let all held output go and let output pass (until the next epoch 0).
struct PassOutput {};
/// Another host runs this guest in a later generation: stop this guest for good, discard its output.
struct Fence {
  Generation superseded_by;
};
/// The guest can never go on here, and the backup holds all that was shown of it: stop it for good, its output
/// held. Answer: guest_gone() once it is stopped, which hands it over.
struct StopGuest {};
/// Two hosts run this guest under the same generation (fail-stop was violated): tell the administrator by
/// every means. Nothing is stopped: no rule can say whose output was the true one.
struct SplitBrain {
  Generation generation;
};
/// Close the link and try again. The engine counts the link as down from here on; link_down() need not
/// follow.
struct DropLink {
  std::string reason;
};
/// Say `goodbye` to the backup if a link is up and detach. unprotected: let all output pass. guest_*: discard
/// it.
struct End {
  Goodbye goodbye;
  std::string reason;
};
/// With `from` == `to`: the state is the same, why it is so or what stands in the way is new.
struct StateChanged {
  PrimaryState from;
  PrimaryState to;
  std::string reason;
};
}  // namespace primary_action

using PrimaryAction =
    std::variant<primary_action::BeginSession, primary_action::Synchronize, primary_action::Capture,
                 primary_action::Resend, primary_action::Release, primary_action::SendHeartbeat,
                 primary_action::ClaimAlone, primary_action::GoAlone, primary_action::AbandonSession,
                 primary_action::PassOutput, primary_action::Fence, primary_action::StopGuest,
                 primary_action::SplitBrain, primary_action::DropLink, primary_action::End,
                 primary_action::StateChanged>;

/// In what circumstances a Primary begins its life.
enum class PrimaryStart {
  fresh,      ///< `remus protect` on a running guest that was not protected: no backup knows it
  rescued,    ///< an earlier guard of this guest died: the guest has been running without one, so we claim
              ///< "alone"
  activated,  ///< this host's backup activated the guest under `generation`
};

class Primary final {
 public:
  struct Setup {
    Config config{};
    Generation generation{1};  ///< as durably recorded here
    std::uint64_t seed{};      ///< for session numbers; must differ between runs
    bool arbiter_exclusive{};  ///< Arbiter::exclusive()
    PrimaryStart start{PrimaryStart::fresh};
  };

  Primary(const Setup& setup, Time now);
  Primary(const Primary&) = delete;
  Primary& operator=(const Primary&) = delete;

  // --- the link ---
  /// Handshake done, both enrolled, the other side is a backup (or was one: see hello.generation).
  void link_up(Time now, const BackupHello& hello);
  void link_down(Time now);
  void heartbeat(Time now, const Heartbeat& heartbeat);
  void acked(Time now, Session session, Epoch epoch);
  /// Handshake says that the other side is active: it runs the guest as its primary.
  void backup_is_active(Time now, Generation generation);
  /// The backup cannot take this guest now (no memory, incompatible): try again later, with back-off.
  void backup_refused(Time now, const std::string& reason);

  // --- the guest ---
  /// Epoch 0 is captured (guest runs again, its output is held since that pause).
  void synchronized(Time now, Session session, CaptureCost cost);
  void sync_failed(Time now, Session session, const std::string& reason);
  /// The hypervisor can take the next checkpoint. Once after synchronized() and once after each captured().
  void capture_ready(Time now);
  void captured(Time now, Session session, Epoch epoch, CaptureCost cost);
  void capture_failed(Time now, Session session, const std::string& reason);
  /// The running epoch has output waiting.
  void output_waiting(Time now);
  /// What the guest needs to go on has died (its device model, say), and it can neither be saved nor go on
  /// here. From now on the last commit is the truth: no epoch, no session, no going alone. As soon as it is
  /// protected it is stopped, and so handed over.
  void guest_doomed(Time now);
  /// The guest's process is gone. `in_good_order`: it shut down by itself or was asked to.
  void guest_gone(Time now, bool in_good_order);

  // --- decisions from outside ---
  /// Answer to ClaimAlone{generation}.
  void verdict(Time now, Generation generation, Verdict verdict);
  /// Take protection off. Output stays held until the backup cannot activate any more (it confirms, or the
  /// arbiter lets us go alone); then End.
  void unprotect(Time now);
  /// New limits from now on: pacing, pipeline and failure detection.
  void configure(const Config& config) {
    config_ = config;
    detector_.bound(detection(config));
  }
  /// Commit now instead of at the interval's end (verify, planned switchover).
  void checkpoint_now(Time now);

  void tick(Time now);
  [[nodiscard]] Time next_deadline() const;
  [[nodiscard]] std::vector<PrimaryAction> take_actions();

  // --- what to show ---
  [[nodiscard]] PrimaryState state() const noexcept { return state_; }
  [[nodiscard]] Generation generation() const noexcept { return generation_; }
  [[nodiscard]] Session session() const noexcept { return session_; }
  [[nodiscard]] bool link_is_up() const noexcept { return link_; }
  /// True while output is held for its commit.
  [[nodiscard]] bool holding() const noexcept { return holding_; }
  /// Newest epoch the backup has acknowledged in this session; none before epoch 0.
  [[nodiscard]] std::optional<Epoch> committed() const noexcept { return committed_; }
  /// When it was acknowledged.
  [[nodiscard]] std::optional<Time> committed_at() const noexcept { return committed_at_; }
  /// Newest epoch captured in this session.
  [[nodiscard]] std::optional<Epoch> captured_epoch() const noexcept { return captured_; }
  [[nodiscard]] std::size_t epochs_in_flight() const noexcept { return kept_.size(); }
  [[nodiscard]] std::uint64_t bytes_in_flight() const noexcept { return kept_bytes_; }
  [[nodiscard]] double overhead() const noexcept { return pacing_.overhead(); }
  [[nodiscard]] Duration detection_timeout() const noexcept { return detector_.timeout(); }
  [[nodiscard]] bool split_brain() const noexcept { return split_; }
  [[nodiscard]] const Config& config() const noexcept { return config_; }

 private:
  struct Kept {
    Epoch epoch{};
    std::uint64_t bytes{};
  };
  /// How far the session is: not begun; the backup is to confirm that its old image is void; memory is on its
  /// way; epoch 0 is captured.
  enum class Sync { none, confirming, running, done };

  void wake(Time now);
  void settle(Time now);
  void change(PrimaryState to, std::string reason);
  [[nodiscard]] bool supersedes_us(Time now, const BackupHello& hello);
  [[nodiscard]] bool resume_session(Time now, const BackupHello& hello);
  void begin_session(Time now);
  void start_synchronization();
  void confirm_session(Time now);
  void fail_session(Time now, const std::string& reason);
  void back_off(Time now);
  void abandon_session(const std::string& reason);
  void forget_session();
  void pass_output();
  void lose_link(Time now, const std::string& reason);
  void drop_link(Time now, const std::string& reason);
  void commit(Time now, Epoch epoch);
  void release(Epoch upto);
  void claim(Time now, Generation generation);
  void say_unanswered();
  void go_alone(Time now, Generation generation);
  void fence(Generation by, const std::string& reason);
  void end(Goodbye goodbye, const std::string& reason);
  void heartbeat_if_due(Time now);
  void session_if_due(Time now);
  void capture_if_due(Time now);
  void claim_if_due(Time now);
  void hand_over_if_possible();
  [[nodiscard]] bool wants_capture() const noexcept;
  [[nodiscard]] bool capture_bounded() const noexcept;
  [[nodiscard]] bool wants_session() const noexcept;
  [[nodiscard]] Time capture_due() const noexcept;
  [[nodiscard]] std::optional<Time> claim_due() const noexcept;
  [[nodiscard]] bool finished() const noexcept;
  [[nodiscard]] PrimaryState unprotected_state() const noexcept;
  [[nodiscard]] Session next_session() noexcept;
  template <typename A>
  void act(A action) {
    actions_.emplace_back(std::move(action));
  }

  Config config_;
  bool exclusive_{};
  PrimaryState state_{PrimaryState::idle};
  Generation generation_{};
  std::uint64_t session_seed_{};
  std::vector<PrimaryAction> actions_{};

  // link
  bool link_{};
  FailureDetector detector_;
  Time last_heard_{};  ///< from the backup, or forgiven: start of the wait for going alone
  Time echo_{};        ///< newest `sent` of the backup's
  Time next_heartbeat_{};

  // session
  Session session_{};  ///< 0: none
  Sync sync_{Sync::none};
  Time begun_at_{};
  bool holding_{};    ///< output is held
  bool entangled_{};  ///< some backup may hold, or have held, an image it could activate
  std::optional<Epoch> captured_{};
  std::optional<Epoch> committed_{};
  std::optional<Time> committed_at_{};
  std::deque<Kept> kept_{};  ///< captured, not acknowledged; at most max_epochs_in_flight
  std::uint64_t kept_bytes_{};
  bool ready_{};  ///< the hypervisor can take a checkpoint
  bool capturing_{};
  Time capture_since_{};
  bool waited_while_capturing_{};  ///< output waits, of the ending epoch or of the next one
  bool now_{};                     ///< checkpoint_now() asked
  Pacing pacing_;

  // trying again
  std::uint32_t failures_{};  ///< sessions failed in a row
  Time retry_at_{};           ///< not before this a new synchronization
  Time protected_since_{};

  // arbitration
  std::optional<Generation> claiming_{};
  Time claim_retry_at_{};
  bool unanswered_{};         ///< it was said that the arbiter cannot be asked
  Generation claim_floor_{};  ///< a peer remembers this generation: ours must be later
  bool split_{};
  bool alone_{};            ///< went alone; no session since has got as far as a commit
  bool leaving_{};          ///< unprotect() was asked
  bool doomed_{};           ///< guest_doomed() was told
  bool stopping_{};         ///< StopGuest was given
  std::uint32_t graces_{};  ///< extra time given after sleeps since the backup was heard; bounded
  Time asked_wake_{};
};

}  // namespace remus::engine
