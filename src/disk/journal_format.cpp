#include "disk/journal_format.hpp"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "checkpoint/wire.hpp"

namespace remus::disk::journal_format {
namespace {

namespace wire = checkpoint::wire;

constexpr std::uint32_t record_magic = 0x31524a52;           // "RJR1"
constexpr std::uint64_t segment_magic = 0x314c4e524a534d52;  // "RMSJRNL1"
constexpr std::size_t checksum_at = 40;
constexpr std::size_t segment_checksum_at = 40;
constexpr std::string_view segment_prefix = "journal-";

std::uint64_t checksum_of(std::span<const std::byte> header, std::span<const std::byte> payload) noexcept {
  return XXH3_64bits_withSeed(payload.data(), payload.size(), XXH3_64bits(header.data(), checksum_at));
}

}  // namespace

void put_record(Record& record, std::span<const std::byte> payload, std::span<std::byte> to) noexcept {
  std::byte* const at = to.data();
  wire::store(at, record_magic);
  wire::store(at + 4, static_cast<std::uint32_t>(record.kind));
  wire::store(at + 8, static_cast<std::uint32_t>(payload.size()));
  wire::store(at + 12, record.number);
  wire::store(at + 16, record.identity);
  wire::store(at + 24, record.epoch);
  wire::store(at + 32, record.survives);
  record.payload_bytes = static_cast<std::uint32_t>(payload.size());
  record.checksum = checksum_of(to, payload);
  wire::store(at + checksum_at, record.checksum);
  std::ranges::copy(payload, at + record_header_bytes);
  std::ranges::fill(to.subspan(record_header_bytes + payload.size()), std::byte{0});
}

bool get_header(std::span<const std::byte> from, std::uint64_t identity, Record& record) noexcept {
  const std::byte* const at = from.data();
  const auto kind = wire::load<std::uint32_t>(at + 4);
  if (wire::load<std::uint32_t>(at) != record_magic || kind < 1 || kind > 2) return false;
  record = {static_cast<RecordKind>(kind),
            wire::load<std::uint32_t>(at + 8),
            wire::load<std::uint32_t>(at + 12),
            wire::load<std::uint64_t>(at + 16),
            wire::load<std::uint64_t>(at + 24),
            wire::load<std::uint64_t>(at + 32),
            wire::load<std::uint64_t>(at + checksum_at)};
  return record.identity == identity && record.payload_bytes <= write_batch_payload_bytes_max;
}

bool sound(std::span<const std::byte> header, std::span<const std::byte> payload,
           const Record& record) noexcept {
  return payload.size() == record.payload_bytes && checksum_of(header, payload) == record.checksum;
}

std::uint64_t chain(std::uint64_t before, std::uint64_t checksum) noexcept {
  const std::array<std::uint64_t, 2> both{before, checksum};
  return XXH3_64bits(both.data(), sizeof both);
}

std::vector<std::byte> segment_header(const Segment& segment) {
  std::vector<std::byte> out(segment_header_bytes);
  wire::store(out.data(), segment_magic);
  wire::store(out.data() + 8, std::uint64_t{1});  // version
  wire::store(out.data() + 16, segment.identity);
  wire::store(out.data() + 24, segment.index);
  wire::store(out.data() + 32, segment.first_epoch);
  wire::store(out.data() + segment_checksum_at,
              static_cast<std::uint64_t>(XXH3_64bits(out.data(), segment_checksum_at)));
  return out;
}

bool get_segment(std::span<const std::byte> from, Segment& segment) noexcept {
  const std::byte* const at = from.data();
  if (from.size() < segment_header_bytes || wire::load<std::uint64_t>(at) != segment_magic ||
      wire::load<std::uint64_t>(at + 8) != 1 ||
      wire::load<std::uint64_t>(at + segment_checksum_at) != XXH3_64bits(at, segment_checksum_at))
    return false;
  segment = {wire::load<std::uint64_t>(at + 16), wire::load<std::uint64_t>(at + 24),
             wire::load<std::uint64_t>(at + 32)};
  return true;
}

std::string segment_name(std::uint64_t index) {
  return fmt::format("{}{:016x}", segment_prefix, index);
}

Result<std::vector<std::uint64_t>> segments_in(StorageFolder& folder) {
  auto names = folder.list();
  if (!names) return std::unexpected(std::move(names.error()));
  std::vector<std::uint64_t> indices;
  for (const std::string& name : *names) {
    if (name.size() != segment_prefix.size() + 16 || !name.starts_with(segment_prefix)) continue;
    const char* const end = name.data() + name.size();
    std::uint64_t index = 0;
    const auto parsed = std::from_chars(name.data() + segment_prefix.size(), end, index, 16);
    if (parsed.ec == std::errc{} && parsed.ptr == end) indices.push_back(index);
  }
  std::ranges::sort(indices);
  return indices;
}

}  // namespace remus::disk::journal_format
