// What a guard says of itself, and what can be asked of it: HTTP/JSON on RUN/guards/<guest>.<side>.sock.
//
//   both      GET  /v1/status           GuardStatus
//             GET  /v1/events?after=N   {events: [GuardEvent, ...]}
//             POST /v1/adjust           part of GuestOptions
//   primary   GET  /v1/description      GuestDescription, or why the guest is refused
//             POST /v1/connect          {links: ["10.0.0.2:7601", ...]}
//             POST /v1/verify           {disks, max_pause_ms}: answers a VerifyReport
//             POST /v1/superseded       {generation, host}: fence the guest
//             POST /v1/unprotect        ends protection; the guard exits
//   backup    GET  /v1/ready            {port, generation}
//             POST /v1/failover         {force}: activates
//             POST /v1/handover         active: the guard exits, the guest runs on
//             POST /v1/stop             discards the standby; the guard exits
//
// docs/guard-api.md says more of each.
// A failure is answered by http::error_response().
//
// The daemon polls status a few times a second, and events when `last_event` has moved: no stream to be cut,
// no event lost in between (the guard keeps its last 256), and nothing for the guard to do for a slow reader.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "guard/spec.hpp"

namespace remus::guard {

/// How far a guard has come, before and around the engine's states.
enum class Phase {
  starting,   ///< inspecting the guest (primary) or preparing the standby (backup)
  described,  ///< primary: the guest can be protected; waiting for /v1/connect
  refused,    ///< the guest cannot be protected, or the standby not built: `last_error` says why; guard will
              ///< exit
  running,    ///< the engine leads: see `state`
  ended,      ///< nothing more will happen; the guard is about to exit
};
[[nodiscard]] std::string_view to_string(Phase phase) noexcept;

/// What this side cannot know, or nobody can yet, is absent: null in JSON, never a nought that looks like a number.
struct GuardStatus {
  std::string guest{};
  Side side{Side::primary};
  std::string peer{};  ///< the other host's name
  Phase phase{Phase::starting};
  std::string state{};                ///< engine::to_string(PrimaryState | BackupState)
  std::string reason{};               ///< why this state was entered, in words
  std::optional<Error> last_error{};  ///< the last thing that went wrong, kept until protection is back
  std::uint64_t generation{};
  std::uint64_t session{};
  /// Output may have gone out that no backup holds. A backup knows only once it is active itself.
  std::optional<bool> alone{};

  struct Epochs {
    std::optional<std::uint64_t> captured{};  ///< primary
    std::optional<std::uint64_t>
        committed{};  ///< primary: acknowledged by the backup; backup: acknowledged by it
    std::optional<std::uint64_t> applied{};  ///< backup: in the image
    std::optional<std::uint64_t> age_of_last_commit_ms{};
    std::uint64_t checkpoints_total{};  ///< by this guard; primary: taken; backup: applied
    double checkpoints_per_s{};         ///< the same, over the last seconds
  } epoch{};

  struct Pause {  ///< primary, from the first checkpoint on
    std::optional<std::uint64_t> p50_us{};
    std::optional<std::uint64_t> p99_us{};
    std::optional<std::uint64_t> last_us{};
    std::optional<std::uint64_t> max_us{};
    std::optional<double> overhead{};  ///< share of time the guest was paused, over the last seconds
  } pause{};

  struct Traffic {
    std::optional<std::uint64_t> dirty_pages_last{};  ///< primary, from the first checkpoint on
    std::optional<double> dirty_pages_avg{};          ///< the same
    /// Primary: dirty pages before delta and compression, since the session began.
    std::optional<std::uint64_t> raw_bytes{};
    /// Primary: what of it crossed the link. Backup: all that came over this connection, absent without one.
    std::optional<std::uint64_t> wire_bytes{};
    [[nodiscard]] std::optional<double> ratio() const noexcept {
      if (!wire_bytes || raw_bytes.value_or(0) == 0) return std::nullopt;
      return static_cast<double>(*wire_bytes) / static_cast<double>(*raw_bytes);
    }
  } traffic{};

  struct Output {  ///< primary, once the guest's output takes the way through it
    std::optional<std::uint64_t> held_packets{};
    std::optional<std::uint64_t> held_bytes{};
    std::optional<std::uint64_t> released_packets{};
    std::optional<std::uint64_t> released_bytes{};
    std::optional<std::uint64_t> dropped_packets{};
  } output{};

  struct Sync {
    std::uint64_t done_bytes{};
    std::uint64_t total_bytes{};
    std::optional<double> eta_s{};
  };
  std::optional<Sync> sync{};  ///< primary, only while synchronizing

  struct Verification {
    std::uint64_t done_bytes{};   ///< read to be compared, of memory and then of disks
    std::uint64_t total_bytes{};  ///< of disks only if they are compared
  };
  std::optional<Verification> verification{};  ///< primary, only while one is under way

  /// As in the options, and in their order; what is told of replicated ones is the primary's.
  struct Disk {
    std::string name{};
    DiskMode mode{DiskMode::replicate};
    /// replicate: "copying" (initially, or what changed since), "replicated", "broken" (to be copied anew); else the mode.
    std::string state{};
    std::optional<std::uint64_t> bytes{};           ///< the disk's size
    std::optional<std::uint64_t> compared_bytes{};  ///< of total_bytes, while copying
    std::optional<std::uint64_t> copied_bytes{};    ///< of compared_bytes: they differed, and are sent
    std::optional<std::uint64_t> total_bytes{};     ///< to be compared with the replica, while copying
    std::optional<std::uint64_t> log_bytes{};       ///< written and not yet held by the backup
    std::optional<std::uint64_t> writes{};          ///< of the guest, by this guard
    std::optional<std::uint64_t> written_bytes{};   ///< by them
    std::optional<std::uint64_t>
        resync_bytes{};  ///< would have to be compared if the backup were lost now and came back
  };
  std::vector<Disk> disks{};

  struct Link {
    std::string state{"down"};              ///< "down", "connecting", "up", "refused"
    std::string address{};                  ///< the peer's, as far as known
    std::optional<std::uint64_t> rtt_us{};  ///< primary, once measured
    std::uint64_t since_ms{};               ///< how long in this state
  } link{};

  ArbiterKind arbiter{ArbiterKind::fail_stop};

  std::uint32_t pid{};
  std::optional<std::uint32_t> keeper_pid{};  ///< primary, if it has one
  std::optional<std::uint32_t> guest_pid{};   ///< of the guest, if it runs here and its process is known
  nlohmann::json handle{};  ///< how to manage the guest: {"qmp": ..., "pid": ...} or {"domain": ...,
                            ///< "domid": ...}; null if none here
  std::uint64_t uptime_ms{};
  std::uint64_t memory_overhead_bytes{};  ///< what protection costs on this host, the image included

  struct Failover {
    std::uint64_t detected_ms{};    ///< last sign of the primary → decision
    std::uint64_t activation_ms{};  ///< decision → guest running
    std::uint64_t epoch{};          ///< it runs on from here
    std::string time{};             ///< UTC, ISO 8601
  };
  std::optional<Failover> failover{};  ///< backup that has activated

  std::uint64_t last_event{};  ///< sequence of the newest event; 0: none yet
  GuestOptions options{};
};

struct GuardEvent {
  std::uint64_t sequence{};  ///< 1, 2, ... in one guard's life
  std::string time{};        ///< UTC, ISO 8601 with milliseconds
  std::string guest{};
  Side side{Side::primary};
  std::string kind{};  ///< "state", "link", "failover", "verify", "error", ...
  std::string text{};  ///< a sentence
  nlohmann::json data{};
};

/// Outcome of POST /v1/verify: the backup's image against the guest's memory, each page as it was at one commit.
struct VerifyReport {
  std::uint64_t first_epoch{};  ///< of those commits
  std::uint64_t epoch{};        ///< the last of them
  std::uint64_t pages_compared{};
  std::uint64_t pages_different{};
  struct Page {
    std::string block{};
    std::uint64_t index{};  ///< page within the block
  };
  std::vector<Page> different{};  ///< at most 1000 of them
  std::uint64_t duration_ms{};
  std::optional<std::uint64_t> blocks_compared{};  ///< of replicated disks, if that was asked for
  std::optional<std::uint64_t> blocks_different{};
  struct Block {
    std::string disk{};
    std::uint64_t offset{};  ///< bytes
  };
  std::vector<Block> different_blocks{};          ///< at most 1000 of them
  std::optional<std::uint64_t> bytes_left_out{};  ///< of disks: written all the time, or not readable
};

[[nodiscard]] nlohmann::json to_json(const GuardStatus& status);
[[nodiscard]] nlohmann::json to_json(const GuardEvent& event);
[[nodiscard]] nlohmann::json to_json(const VerifyReport& report);
// Readers are lenient towards unknown keys: daemon and guard may be of different (patch) versions across an
// upgrade.
[[nodiscard]] Result<GuardStatus> status_from_json(const nlohmann::json& value);
[[nodiscard]] Result<GuardEvent> event_from_json(const nlohmann::json& value);
[[nodiscard]] Result<VerifyReport> verify_report_from_json(const nlohmann::json& value);

/// What the daemon answers to the backup's guard on GET /v1/peer/guests/<guest>/report. A guest this host
/// does not protect to the asker (any more) is answered with not_found, which says nothing about the guest:
/// it must not be activated.
[[nodiscard]] nlohmann::json to_json(const engine::HostReport& report);
[[nodiscard]] Result<engine::HostReport> report_from_json(const nlohmann::json& value);

/// {"error": {"kind": "refused", "what": ..., "fix": ...}}
[[nodiscard]] nlohmann::json to_json(const Error& error);
/// The error an answer carries; an Errc::internal error quoting the answer if it carries none.
[[nodiscard]] Error error_from_json(const nlohmann::json& value);

/// Now, as UTC ISO 8601 with milliseconds: "2025-01-31T23:59:59.123Z".
[[nodiscard]] std::string utc_now();

}  // namespace remus::guard
