// The primary's half of the protocol: when to checkpoint, when output may leave, what to do when the backup is gone.
//
//   capture_ready ─▶ [pacing] ─▶ Capture k ─▶ captured k ─▶ (shell encodes, sends) ─▶ ack k ─▶ Release k
//                                   │ pipeline full: the next Capture waits                 (S1)
//   link lost ─▶ interrupted: output held, epochs kept ─┬─ link back, session known: Resend from held+1
//                                                       └─ alone_after: ClaimAlone ─ granted ─▶ alone, output passes
//
// Sans-I/O: call the event functions with the time; then carry out take_actions() in order; call tick() at
// next_deadline() at the latest. Not thread-safe; one owner.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/detector.hpp"
#include "engine/types.hpp"

namespace remus::engine {

namespace primary_action {
/// Begin a session: (re)synchronize the backup. The shell answers with synchronized() or sync_failed().
struct Synchronize { Session session; };
/// Hold output from the pause that ends the synchronization (epoch 0) on.
struct Capture { Epoch epoch; };
/// Send again, whole and in order, every kept epoch > `after`.
struct Resend { Epoch after; };
/// The backup holds all epochs ≤ `upto`: let their output go, free their buffers.
struct Release { Epoch upto; };
struct SendHeartbeat { Heartbeat heartbeat; };
/// Ask the arbiter whether this host may go on alone with `generation`. Answer by verdict().
struct ClaimAlone { Generation generation; };
/// Record `generation` durably, leave checkpointing, free all buffers, let all output pass. The guest runs on.
struct GoAlone { Generation generation; };
/// Throw the session's buffers away and leave checkpointing; output keeps the mode it has. (Before a new session,
/// or when a capture failed.)
struct AbandonSession { std::string reason; };
/// Another host runs this guest in a later generation: stop this guest for good, discard its output.
struct Fence { Generation superseded_by; };
/// Close the link and try again.
struct DropLink { std::string reason; };
/// Say goodbye to the backup, detach, let all output pass. Answer: nothing.
struct End { std::string reason; };
struct StateChanged { PrimaryState from; PrimaryState to; std::string reason; };
}  // namespace primary_action

using PrimaryAction =
    std::variant<primary_action::Synchronize, primary_action::Capture, primary_action::Resend,
                 primary_action::Release, primary_action::SendHeartbeat, primary_action::ClaimAlone,
                 primary_action::GoAlone, primary_action::AbandonSession, primary_action::Fence,
                 primary_action::DropLink, primary_action::End, primary_action::StateChanged>;

}  // namespace remus::engine
