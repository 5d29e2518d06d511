#include "checkpoint/epoch_digest.hpp"

#include <fmt/format.h>

#include "checkpoint/wire.hpp"

namespace remus::checkpoint {
namespace {

constexpr std::string_view what_to_do =
    "the session ends and the backup is synchronized anew; if it happens again, check the hosts' memory";

}  // namespace

std::array<std::byte, epoch_digest_bytes> encode(const EpochDigest& digest) noexcept {
  std::array<std::byte, epoch_digest_bytes> out;
  std::byte* at = out.data();
  for (const std::uint64_t field :
       {digest.epoch, digest.pages, digest.batches, digest.batch_bytes, digest.device_bytes,
        digest.device_hash.low, digest.device_hash.high, digest.image_hash.low, digest.image_hash.high}) {
    wire::store(at, field);
    at += sizeof(field);
  }
  return out;
}

Result<EpochDigest> decode_epoch_digest(std::span<const std::byte> bytes) {
  if (bytes.size() != epoch_digest_bytes) {
    return fail(Errc::corrupt,
                fmt::format("epoch digest of {} bytes, not {}", bytes.size(), epoch_digest_bytes));
  }
  const auto field = [&](std::size_t i) { return wire::load<std::uint64_t>(bytes.data() + 8 * i); };
  return EpochDigest{.epoch = field(0),
                     .pages = field(1),
                     .batches = field(2),
                     .batch_bytes = field(3),
                     .device_bytes = field(4),
                     .device_hash = {field(5), field(6)},
                     .image_hash = {field(7), field(8)}};
}

void EpochTally::device_state(std::span<const std::byte> state, const PageHasher& hasher) noexcept {
  digest_.device_bytes = state.size();
  digest_.device_hash = hasher.of(state);
}

Status complete(const EpochDigest& announced, const EpochDigest& received) {
  const auto differ = [&](std::string_view what, std::uint64_t want, std::uint64_t got) {
    return fail(Errc::corrupt,
                fmt::format("epoch {}: {} {} received, {} were sent", announced.epoch, got, what, want),
                std::string{what_to_do});
  };
  if (announced.epoch != received.epoch) {
    return fail(
        Errc::corrupt,
        fmt::format("epoch {} was closed while {} was being received", announced.epoch, received.epoch),
        std::string{what_to_do});
  }
  if (announced.batches != received.batches) return differ("batches", announced.batches, received.batches);
  if (announced.batch_bytes != received.batch_bytes)
    return differ("bytes", announced.batch_bytes, received.batch_bytes);
  if (announced.pages != received.pages) return differ("pages", announced.pages, received.pages);
  if (announced.device_bytes != received.device_bytes) {
    return differ("bytes of device state", announced.device_bytes, received.device_bytes);
  }
  if (announced.device_hash != received.device_hash) {
    return fail(Errc::corrupt, fmt::format("epoch {}: the device state is not the one sent", announced.epoch),
                std::string{what_to_do});
  }
  return {};
}

Status exact(const EpochDigest& announced, const Hash128& image_hash) {
  if (announced.image_hash == image_hash) return {};
  return fail(Errc::corrupt, fmt::format("epoch {}: the image is not the primary's memory", announced.epoch),
              std::string{what_to_do});
}

}  // namespace remus::checkpoint
