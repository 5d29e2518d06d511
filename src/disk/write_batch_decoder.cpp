#include <fmt/format.h>

#include <utility>

#include "base/assert.hpp"
#include "checkpoint/wire.hpp"
#include "disk/write_batch.hpp"

namespace remus::disk {
namespace {

std::unexpected<Error> bad_batch(std::string what) {
  return fail(Errc::corrupt, "batch of disk writes: " + std::move(what));
}

}  // namespace

WriteBatchDecoder::WriteBatchDecoder(std::vector<std::uint64_t> disk_bytes)
    : disk_bytes_{std::move(disk_bytes)} {
  REMUS_ASSERT("pre", disk_bytes_.size() <= disks_max, "a guest has no more disks than can be told apart");
}

Result<WriteBatchDecoder::Head> WriteBatchDecoder::unpack(std::span<const std::byte> payload) {
  namespace wire = checkpoint::wire;
  if (payload.size() < write_batch_header_bytes || payload.size() > write_batch_payload_bytes_max)
    return bad_batch(fmt::format("{} bytes long", payload.size()));
  const std::byte* const header = payload.data();
  if (const auto version = wire::load<std::uint8_t>(header); version != write_batch_version)
    return bad_batch(fmt::format("version {}, this side knows {}", version, write_batch_version));
  const Head head{wire::load<std::uint16_t>(header + 2), wire::load<std::uint32_t>(header + 4)};
  if (head.disk >= disk_bytes_.size())
    return bad_batch(fmt::format("disk {} of a guest of {} disks", head.disk, disk_bytes_.size()));
  if (head.records == 0 || head.records > write_records_max)
    return bad_batch(fmt::format("{} records", head.records));
  auto body =
      unpacker_.unpack(wire::load<std::uint8_t>(header + 1), payload.subspan(write_batch_header_bytes),
                       wire::load<std::uint32_t>(header + 8));
  if (!body) return bad_batch(std::move(body.error().what));
  body_ = *body;
  return head;
}

Result<Write> WriteBatchDecoder::next(Cursor& cursor, DiskIndex disk) const {
  const std::byte* const begin = body_.data();
  const std::byte* const end = begin + body_.size();
  std::uint64_t head = 0;
  std::uint64_t bytes = 0;
  const std::byte* at = checkpoint::wire::get_varint(begin + cursor.at, end, head);
  if (at != nullptr) at = checkpoint::wire::get_varint(at, end, bytes);
  if (at == nullptr) return bad_batch("a record's head is cut off");
  const std::uint64_t size = disk_bytes_[disk];
  const std::uint64_t room = size - cursor.behind;  // what lies behind is within the disk
  const std::uint64_t step = head >> 2;
  if (bytes == 0 || step > room || bytes > room - step)
    return bad_batch(fmt::format("{} bytes, {} behind {}, on disk {} of {} bytes", bytes, step, cursor.behind,
                                 disk, size));
  Write write{cursor.behind + step, bytes, static_cast<WriteKind>(head & 3), {}};
  if (write.kind == WriteKind::data) {
    if (bytes > static_cast<std::uint64_t>(end - at)) return bad_batch("a record's data is cut off");
    write.data = {at, static_cast<std::size_t>(bytes)};
    at += bytes;
  }
  cursor.at = static_cast<std::size_t>(at - begin);
  cursor.behind = write.offset + bytes;
  return write;
}

Status WriteBatchDecoder::end(const Cursor& cursor) const {
  if (cursor.at != body_.size()) return bad_batch("bytes after the last record");
  return {};
}

Result<WriteBatchSummary> WriteBatchDecoder::validate(std::span<const std::byte> payload) {
  WriteBatchSummary summary{};
  auto status = visit(payload, [&](DiskIndex disk, const Write& write) -> Status {
    summary.disk = disk;
    ++summary.records;
    (write.kind == WriteKind::data ? summary.data_bytes : summary.zero_bytes) += write.bytes;
    return {};
  });
  if (!status) return std::unexpected(std::move(status.error()));
  return summary;
}

}  // namespace remus::disk
