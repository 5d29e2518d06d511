// The link's network as TCP shows it: messages of one connection arrive in order or not at all; a blocked
// path delays them until it heals; a closed end is told after what was sent before it, or cuts it off; a dead
// host says nothing.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "engine/types.hpp"
#include "rng.hpp"
#include "truth.hpp"

namespace remus::sim {

enum class MessageKind : std::uint8_t {
  dial,   ///< primary → other: here I am, with my generation
  hello,  ///< the other → primary: what I hold, or that I am active
  begin_session,
  epoch_part,  ///< some of an epoch's data
  epoch_end,   ///< the rest: now it is whole
  ack,
  heartbeat,
  goodbye,
  refused,
  eof,
};

struct Message {
  MessageKind kind{MessageKind::eof};
  Session session{};
  Epoch epoch{};
  Generation generation{};
  Snapshot snapshot{};
  engine::Heartbeat heartbeat{};
  engine::BackupHello hello{};
  engine::Goodbye goodbye{engine::Goodbye::unprotected};
};

/// One TCP connection between host 0 and host 1. Index of a direction: the receiving host.
struct Connection {
  std::array<std::deque<Message>, 2> queue{};
  std::array<Ns, 2> last_at{};           ///< no message overtakes another
  std::array<bool, 2> open{true, true};  ///< that host's process still has it
};

}  // namespace remus::sim
