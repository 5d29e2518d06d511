// Every message's decoder, fed anything.
//
// What must hold: no read beyond the payload, errors name the message, and what decodes encodes to bytes
// which decode to the same message again.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "link/messages.hpp"

namespace {

using namespace remus::link;

void require(bool condition) {
  if (!condition) std::abort();
}

constexpr MessageType types[] = {MessageType::hello,
                                 MessageType::welcome,
                                 MessageType::refuse,
                                 MessageType::goodbye,
                                 MessageType::active,
                                 MessageType::heartbeat,
                                 MessageType::ack,
                                 MessageType::window_update,
                                 MessageType::session_begin,
                                 MessageType::session_ready,
                                 MessageType::hash_offer,
                                 MessageType::sync_pages,
                                 MessageType::epoch_begin,
                                 MessageType::epoch_pages,
                                 MessageType::epoch_device,
                                 MessageType::epoch_end,
                                 MessageType::verify_begin,
                                 MessageType::verify_hashes,
                                 MessageType::verify_result,
                                 MessageType::disk_sync,
                                 MessageType::disk_writes,
                                 MessageType::verify_disk_hashes,
                                 MessageType::disk_hashes_wanted,
                                 MessageType::disk_hashes};

Frame frame_of(std::uint16_t type, std::uint16_t flags, std::vector<std::byte> payload) {
  const auto size = static_cast<std::uint32_t>(payload.size());
  return Frame{{type, flags, size, 0}, Payload::own(std::move(payload))};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::size_t which = data[0] % (std::size(types) + 1);
  // One choice beyond the known types: a number that is none, optional or not.
  const bool unknown = which == std::size(types);
  const auto type = unknown ? std::uint16_t{0x7fff} : static_cast<std::uint16_t>(types[which]);
  const std::uint16_t flags = (data[0] & 0x80) != 0 ? frame_flag::optional : std::uint16_t{0};
  std::vector<std::byte> payload(size - 1);
  if (!payload.empty()) std::memcpy(payload.data(), data + 1, payload.size());

  const auto first = decode(frame_of(type, flags, payload));
  if (!first) {
    require(!first.error().what.empty());
    return 0;
  }
  if (!first->has_value()) {
    require(unknown && flags == frame_flag::optional);
    return 0;
  }
  const Outgoing out = encode(**first);
  require(static_cast<std::uint16_t>(out.type) == type);
  std::vector<std::byte> again = out.head;
  again.insert(again.end(), out.tail.bytes().begin(), out.tail.bytes().end());
  require(again.size() <= frame_payload_bytes_max);
  const auto second = decode(frame_of(type, 0, std::move(again)));
  require(second.has_value() && second->has_value());
  require(**second == **first);
  if (const auto* hello = std::get_if<Hello>(&**first)) static_cast<void>(negotiate_version(*hello));
  return 0;
}
