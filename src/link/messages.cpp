#include "link/messages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "base/assert.hpp"
#include "link/message_codec.hpp"

namespace remus::link {
namespace {

/// How a message travels.
template <typename M>
struct Traits;
template <MessageType T, Lane L = Lane::control, bool Extensible = false>
struct TraitsOf {
  static constexpr MessageType type = T;
  static constexpr Lane lane = L;
  /// A later version may add fields at the end; what is not known is passed over.
  static constexpr bool extensible = Extensible;
};
template <>
struct Traits<Hello> : TraitsOf<MessageType::hello, Lane::control, true> {};
template <>
struct Traits<Welcome> : TraitsOf<MessageType::welcome, Lane::control, true> {};
template <>
struct Traits<Refuse> : TraitsOf<MessageType::refuse, Lane::control, true> {};
template <>
struct Traits<Goodbye> : TraitsOf<MessageType::goodbye, Lane::control, true> {};
template <>
struct Traits<Active> : TraitsOf<MessageType::active> {};
template <>
struct Traits<HeartbeatMsg> : TraitsOf<MessageType::heartbeat> {};
template <>
struct Traits<Ack> : TraitsOf<MessageType::ack> {};
template <>
struct Traits<WindowUpdate> : TraitsOf<MessageType::window_update> {};
template <>
struct Traits<SessionBegin> : TraitsOf<MessageType::session_begin, Lane::bulk> {};
template <>
struct Traits<SessionReady> : TraitsOf<MessageType::session_ready, Lane::bulk> {};
template <>
struct Traits<HashOffer> : TraitsOf<MessageType::hash_offer, Lane::bulk> {};
template <>
struct Traits<SyncPages> : TraitsOf<MessageType::sync_pages, Lane::bulk> {};
template <>
struct Traits<EpochBegin> : TraitsOf<MessageType::epoch_begin, Lane::bulk> {};
template <>
struct Traits<EpochPages> : TraitsOf<MessageType::epoch_pages, Lane::bulk> {};
template <>
struct Traits<EpochDevice> : TraitsOf<MessageType::epoch_device, Lane::bulk> {};
template <>
struct Traits<EpochEnd> : TraitsOf<MessageType::epoch_end, Lane::bulk> {};
template <>
struct Traits<VerifyBegin> : TraitsOf<MessageType::verify_begin, Lane::bulk> {};
template <>
struct Traits<VerifyHashes> : TraitsOf<MessageType::verify_hashes, Lane::bulk> {};
template <>
struct Traits<VerifyResult> : TraitsOf<MessageType::verify_result, Lane::bulk> {};
template <>
struct Traits<DiskSync> : TraitsOf<MessageType::disk_sync, Lane::bulk> {};
template <>
struct Traits<DiskWrites> : TraitsOf<MessageType::disk_writes, Lane::bulk> {};
template <>
struct Traits<VerifyDiskHashes> : TraitsOf<MessageType::verify_disk_hashes, Lane::bulk> {};
template <>
struct Traits<DiskHashesWanted> : TraitsOf<MessageType::disk_hashes_wanted> {};
template <>
struct Traits<DiskHashes> : TraitsOf<MessageType::disk_hashes, Lane::bulk> {};

Payload opaque_part(const HashOffer& m) {
  return m.hashes;
}
Payload opaque_part(const SyncPages& m) {
  return m.data;
}
Payload opaque_part(const EpochPages& m) {
  return m.data;
}
Payload opaque_part(const EpochDevice& m) {
  return m.data;
}
Payload opaque_part(const VerifyHashes& m) {
  return m.hashes;
}
Payload opaque_part(const DiskSync& m) {
  return m.data;
}
Payload opaque_part(const DiskWrites& m) {
  return m.data;
}
Payload opaque_part(const VerifyDiskHashes& m) {
  return m.hashes;
}
Payload opaque_part(const DiskHashes& m) {
  return m.hashes;
}
template <typename M>
Payload opaque_part(const M&) {
  return {};
}

template <typename M>
Lane lane_of_one(const M&) {
  return Traits<M>::lane;
}
/// A switchover must not overtake the epoch it ends with.
Lane lane_of_one(const Goodbye& m) {
  return m.reason == GoodbyeReason::switchover ? Lane::bulk : Lane::control;
}

template <typename M>
Result<std::optional<Message>> decode_as(const Frame& frame) {
  wire::Reader reader{frame.payload.bytes()};
  M message;
  codec::get(reader, frame.payload, message);
  if (reader.failed() != nullptr)
    return fail(Errc::corrupt,
                fmt::format("{} message (frame {}, {} bytes): field '{}' is missing or has a value "
                            "that is not allowed",
                            to_string(Traits<M>::type), frame.header.sequence, frame.payload.size(),
                            reader.failed()));
  const std::size_t used = reader.position() + opaque_part(message).size();
  if (!Traits<M>::extensible && used != frame.payload.size())
    return fail(Errc::corrupt,
                fmt::format("{} message (frame {}): {} bytes too many", to_string(Traits<M>::type),
                            frame.header.sequence, frame.payload.size() - used));
  return std::optional<Message>{std::move(message)};
}

template <std::size_t... I>
Result<std::optional<Message>> decode_any(const Frame& frame, std::index_sequence<I...>) {
  Result<std::optional<Message>> out{std::nullopt};
  bool known = false;
  const auto attempt = [&]<typename M>(std::type_identity<M>) {
    if (static_cast<std::uint16_t>(Traits<M>::type) != frame.header.type) return false;
    known = true;
    out = decode_as<M>(frame);
    return true;
  };
  static_cast<void>((attempt(std::type_identity<std::variant_alternative_t<I, Message>>{}) || ...));
  if (!known && !frame.header.optional())
    return fail(
        Errc::incompatible,
        fmt::format("the peer sent a message of type {} that this release does not know", frame.header.type),
        "run the same Remus release on both hosts");
  return out;
}

}  // namespace

std::string_view to_string(MessageType type) noexcept {
  switch (type) {
    case MessageType::hello: return "hello";
    case MessageType::welcome: return "welcome";
    case MessageType::refuse: return "refuse";
    case MessageType::goodbye: return "goodbye";
    case MessageType::active: return "active";
    case MessageType::heartbeat: return "heartbeat";
    case MessageType::ack: return "ack";
    case MessageType::window_update: return "window-update";
    case MessageType::session_begin: return "session-begin";
    case MessageType::session_ready: return "session-ready";
    case MessageType::hash_offer: return "hash-offer";
    case MessageType::sync_pages: return "sync-pages";
    case MessageType::epoch_begin: return "epoch-begin";
    case MessageType::epoch_pages: return "epoch-pages";
    case MessageType::epoch_device: return "epoch-device";
    case MessageType::epoch_end: return "epoch-end";
    case MessageType::verify_begin: return "verify-begin";
    case MessageType::verify_hashes: return "verify-hashes";
    case MessageType::verify_result: return "verify-result";
    case MessageType::disk_sync: return "disk-sync";
    case MessageType::disk_writes: return "disk-writes";
    case MessageType::verify_disk_hashes: return "verify-disk-hashes";
    case MessageType::disk_hashes_wanted: return "disk-hashes-wanted";
    case MessageType::disk_hashes: return "disk-hashes";
  }
  return "unknown";
}

std::string_view to_string(GoodbyeReason reason) noexcept {
  switch (reason) {
    case GoodbyeReason::unprotected: return "unprotected";
    case GoodbyeReason::guest_gone: return "guest-gone";
    case GoodbyeReason::switchover: return "switchover";
    case GoodbyeReason::alone: return "alone";
    case GoodbyeReason::fenced: return "fenced";
    case GoodbyeReason::shutting_down: return "shutting-down";
    case GoodbyeReason::guest_crashed: return "guest-crashed";
  }
  return "unknown";
}

bool Welcome::operator==(const Welcome& o) const noexcept {
  return version == o.version && product_version == o.product_version && host == o.host &&
         hypervisor_version == o.hypervisor_version && backup.generation == o.backup.generation &&
         backup.state == o.backup.state && backup.session == o.backup.session &&
         backup.held == o.backup.held && receive_window_bytes == o.receive_window_bytes &&
         offers_hashes == o.offers_hashes;
}

bool HeartbeatMsg::operator==(const HeartbeatMsg& o) const noexcept {
  return heartbeat.session == o.heartbeat.session && heartbeat.generation == o.heartbeat.generation &&
         heartbeat.sent == o.heartbeat.sent && heartbeat.echo == o.heartbeat.echo;
}

Lane lane_of(const Message& message) noexcept {
  return std::visit([](const auto& m) { return lane_of_one(m); }, message);
}

Outgoing encode(const Message& message) {
  return std::visit(
      [](const auto& m) {
        using M = std::decay_t<decltype(m)>;
        wire::Writer writer;
        codec::put(writer, m);
        Outgoing out{Traits<M>::type, lane_of_one(m), false, std::move(writer).take(), opaque_part(m)};
        REMUS_ASSERT("pre", out.tail.size() <= batch_bytes_max, "opaque data of one frame is bounded");
        return out;
      },
      message);
}

Result<std::optional<Message>> decode(const Frame& frame) {
  return decode_any(frame, std::make_index_sequence<std::variant_size_v<Message>>{});
}

Result<std::uint16_t> negotiate_version(const Hello& hello) {
  const std::uint16_t chosen = std::min(hello.version_max, protocol_version_max);
  if (chosen < hello.version_min || chosen < protocol_version_min)
    return fail(
        Errc::incompatible,
        fmt::format(
            "the primary (Remus {}) speaks protocol versions {} to {}, this backup (Remus {}) {} to {}",
            hello.product_version, hello.version_min, hello.version_max, REMUS_VERSION, protocol_version_min,
            protocol_version_max),
        "run the same Remus release on both hosts");
  return chosen;
}

}  // namespace remus::link
