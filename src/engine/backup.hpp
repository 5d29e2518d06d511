// The backup's half of the protocol: what it holds, what it may acknowledge, and when it may activate.
//
//   epoch_whole k ─▶ SendAck k ─▶ Apply k ─▶ epoch_applied k     (acknowledged as soon as whole, applied in order)
//
//   silence on the link AND on the host reports, lease valid, image whole
//        ─▶ ClaimActivation g+1 ─ granted ─▶ all whole epochs applied ─▶ Activate ─▶ activated: the guest runs here
//
// EOF is not death and silence is not proof: see docs/architecture.md, "When the other side is silent". A
// backup whose primary may have gone on without it is stale: it activates only on an operator's word.
//
// Sans-I/O: call the event functions with the time; then carry out take_actions() in order; call tick() at
// next_deadline() at the latest. Not thread-safe; one owner. A new Backup is always empty: an image found
// after a restart serves as material for the next synchronization, never for an activation.
//
// What the shell must keep:
// - session_begin() is called (and the old image treated as void) before anything of that session is taken in.
// - After a DropLink, and after link_down(), nothing of that connection reaches the engine any more.
// - It asks the primary's host for reports on every path it knows, several times within Config::detect_min, and
//   gives every one that arrives to host_report(); a missing one is said by saying nothing.
// - Every ClaimActivation is answered by exactly one verdict() within bounded time (`unavailable` when in doubt).
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/detector.hpp"
#include "engine/types.hpp"

namespace remus::engine {

namespace backup_action {
/// This epoch and all before it are held whole.
struct SendAck {
  Session session;
  Epoch epoch;
};
struct SendHeartbeat {
  Heartbeat heartbeat;
};
/// Bring the image to `epoch`, which is whole; all before it have been asked for. Answer: epoch_applied() or
/// apply_failed(), in order.
struct Apply {
  Session session;
  Epoch epoch;
};
/// Throw away what has been received of epochs that are not whole.
struct DiscardTorn {};
/// Ask the arbiter whether this host may run the guest as `generation`. Answer by verdict().
struct ClaimActivation {
  Generation generation;
};
/// Record `generation` durably, then start the standby: its image holds exactly `epoch`, all applied. Answer:
/// activated() or activation_failed().
struct Activate {
  Generation generation;
  Epoch epoch;
};
/// Throw standby and image away.
struct DiscardStandby {
  std::string reason;
};
/// Close the link; the primary will try again. The engine counts the link as down from here on.
struct DropLink {
  std::string reason;
};
struct StateChanged {
  BackupState from;
  BackupState to;
  std::string reason;
};
}  // namespace backup_action

using BackupAction =
    std::variant<backup_action::SendAck, backup_action::SendHeartbeat, backup_action::Apply,
                 backup_action::DiscardTorn, backup_action::ClaimActivation, backup_action::Activate,
                 backup_action::DiscardStandby, backup_action::DropLink, backup_action::StateChanged>;

class Backup final {
 public:
  struct Setup {
    Config config{};
    Generation generation{};   ///< newest known here, as durably recorded; 0 if none
    bool arbiter_exclusive{};  ///< Arbiter::exclusive(): true needs no lease
  };

  Backup(const Setup& setup, Time now);
  Backup(const Backup&) = delete;
  Backup& operator=(const Backup&) = delete;

  // --- the link ---
  /// Handshake done (hello() was sent in it).
  void link_up(Time now);
  void link_down(Time now);
  void heartbeat(Time now, const Heartbeat& heartbeat);
  /// Something else of the primary has come, a part of an epoch say: it lives. Says nothing of its rhythm.
  void traffic(Time now);
  /// A session begins: the image is void until epoch 0 is whole.
  void session_begin(Time now, Session session, Generation generation);
  /// All of `epoch` has arrived and its integrity is proven. In order: the one after held().
  void epoch_whole(Time now, Session session, Epoch epoch);
  void goodbye(Time now, Goodbye reason);

  // --- the image ---
  void epoch_applied(Time now, Session session, Epoch epoch);
  /// The image is damaged: it is given up, and the primary will synchronize anew.
  void apply_failed(Time now, Session session, const std::string& reason);
  /// The standby or its memory is gone (its process died, no memory).
  void standby_lost(Time now, const std::string& reason);

  // --- witnesses and decisions ---
  void host_report(Time now, const HostReport& report);
  /// Answer to ClaimActivation{generation}.
  void verdict(Time now, Generation generation, Verdict verdict);
  /// `remus failover`. Without force it is refused (with the reason, for a person) while the primary may be
  /// alive or may have gone on without us. With force only an image that is not whole is a reason to refuse.
  [[nodiscard]] std::expected<void, std::string> operator_failover(Time now, bool force);
  void activated(Time now);
  void activation_failed(Time now, const std::string& reason);
  /// New limits from now on, those of failure detection with them.
  void configure(const Config& config) {
    config_ = config;
    detector_.bound(detection(config));
    reports_.bound(detection(config));
  }
  /// Take this side's part off: the image is discarded.
  void unprotect(Time now);

  void tick(Time now);
  [[nodiscard]] Time next_deadline() const;
  [[nodiscard]] std::vector<BackupAction> take_actions();

  // --- what to say and show ---
  [[nodiscard]] BackupHello hello() const noexcept;
  [[nodiscard]] BackupState state() const noexcept { return state_; }
  [[nodiscard]] Generation generation() const noexcept { return generation_; }
  [[nodiscard]] Session session() const noexcept { return session_; }
  [[nodiscard]] bool link_is_up() const noexcept { return link_; }
  /// Newest epoch held whole; none while the image is void.
  [[nodiscard]] std::optional<Epoch> held() const noexcept { return held_; }
  [[nodiscard]] std::optional<Epoch> acked() const noexcept { return acked_; }
  [[nodiscard]] std::optional<Epoch> applied() const noexcept { return applied_; }
  /// Until when this backup may activate by itself (fail-stop only); Time{} without a lease.
  [[nodiscard]] Time lease_until() const noexcept;
  /// Why the state is what it is, for a person.
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }
  [[nodiscard]] const Config& config() const noexcept { return config_; }

 private:
  void wake(Time now);
  void settle(Time now);
  void change(BackupState to, std::string reason);
  void lose_link(Time now, const std::string& reason);
  void drop_link(Time now, const std::string& reason);
  void primary_spoke(Time now);
  void go_stale(const std::string& reason);
  void give_up_image(const std::string& reason, BackupState to);
  void acknowledge();
  void claim(Time now, Generation generation, const std::string& reason);
  void cancel_claim(const std::string& reason);
  void activate_if_applied();
  void heartbeat_if_due(Time now);
  void judge(Time now);
  [[nodiscard]] bool lease_valid(Time now) const noexcept;
  [[nodiscard]] bool all_silent(Time now) const noexcept;
  [[nodiscard]] bool usable() const noexcept { return held_.has_value(); }
  [[nodiscard]] bool bound() const noexcept;
  [[nodiscard]] bool finished() const noexcept;
  [[nodiscard]] Epoch unapplied() const noexcept;
  template <typename A>
  void act(A action) {
    actions_.emplace_back(std::move(action));
  }

  Config config_;
  bool exclusive_{};
  BackupState state_{BackupState::empty};
  std::string reason_{};
  Generation generation_{};       ///< shared with the primary, or ours once active
  Generation seen_generation_{};  ///< latest heard of anywhere
  std::vector<BackupAction> actions_{};

  // link and witnesses
  bool link_{};
  FailureDetector detector_;          ///< of the link
  FailureDetector reports_;           ///< of the primary's host reporting its guest alive
  Time echo_{};                       ///< newest `sent` of the primary's
  std::optional<Time> lease_from_{};  ///< own clock: the primary had heard from us at this time or later
  Time next_heartbeat_{};

  // image
  Session session_{};  ///< 0: none
  std::optional<Epoch> held_{};
  std::optional<Epoch> acked_{};
  std::optional<Epoch> applied_{};

  // arbitration
  std::optional<Generation> claiming_{};
  BackupState before_claim_{BackupState::suspecting};
  Generation claimed_{};
  bool operator_asked_{};  ///< an operator's word: no lease needed
  bool forced_{};
  bool dead_in_time_{};  ///< everything was silent while the lease was valid: the primary never went alone
  bool gone_{};          ///< a witness says the guest's process is gone
  bool told_gone_{};     ///< ... and the primary's last word did: its guard may take a while to clear up
  bool activating_{};    ///< Activate was given
  Time claim_retry_at_{};
  Time asked_wake_{};
  Time asked_after_{};  ///< the newest time we were told
};

}  // namespace remus::engine
