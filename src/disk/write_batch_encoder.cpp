#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.hpp"
#include "checkpoint/wire.hpp"
#include "disk/write_batch.hpp"

namespace remus::disk {
namespace {

namespace wire = checkpoint::wire;
constexpr std::size_t record_head_bytes_max = 2 * wire::varint_bytes_max;
/// Less than this left in a body is not worth a piece of a large write.
constexpr std::size_t piece_bytes_min = 4096;

}  // namespace

WriteBatchEncoder::WriteBatchEncoder(checkpoint::Compression compression, std::uint64_t link_bytes_per_s)
    : packer_{compression, link_bytes_per_s}, body_(write_batch_body_bytes_max) {}

Status WriteBatchEncoder::encode(DiskIndex disk, const Portion& portion, checkpoint::BatchOutput& out) {
  used_ = records_ = 0;
  behind_ = 0;
  auto status = portion.visit([&](const Write& write) -> Status {
    add(disk, write, out);
    return {};
  });
  if (status) flush(disk, out);
  return status;
}

void WriteBatchEncoder::add(DiskIndex disk, const Write& write, checkpoint::BatchOutput& out) {
  Write rest = write;
  while (rest.bytes != 0) {
    const std::size_t room = body_.size() - used_;
    const std::size_t worthwhile =
        record_head_bytes_max + std::min<std::size_t>(rest.data.size(), piece_bytes_min);
    if (room < worthwhile || records_ == write_records_max) {
      flush(disk, out);
      continue;
    }
    Write piece = rest;
    if (rest.kind == WriteKind::data) {
      piece.data = rest.data.first(std::min(rest.data.size(), room - record_head_bytes_max));
      piece.bytes = piece.data.size();
      rest.data = rest.data.subspan(piece.bytes);
    }
    put(piece);
    rest.offset += piece.bytes;
    rest.bytes -= piece.bytes;
  }
}

void WriteBatchEncoder::put(const Write& write) {
  REMUS_ASSERT("pre", write.offset >= behind_, "writes of a batch come in order");
  std::byte* at = body_.data() + used_;
  at = wire::put_varint(at, (write.offset - behind_) << 2 | std::to_underlying(write.kind));
  at = wire::put_varint(at, write.bytes);
  if (!write.data.empty()) std::memcpy(at, write.data.data(), write.data.size());
  used_ = static_cast<std::size_t>(at - body_.data()) + write.data.size();
  behind_ = write.offset + write.bytes;
  ++records_;
}

void WriteBatchEncoder::flush(DiskIndex disk, checkpoint::BatchOutput& out) {
  if (records_ == 0) return;
  const std::span<std::byte> payload = out.batch_space();
  REMUS_ASSERT("pre", payload.size() >= write_batch_payload_bytes_max,
               "an output has room for a whole batch");
  const auto [packing, packed_bytes] =
      packer_.pack(std::span{body_}.first(used_), payload.subspan(write_batch_header_bytes));
  wire::store(payload.data(), write_batch_version);
  wire::store(payload.data() + 1, static_cast<std::uint8_t>(packing));
  wire::store(payload.data() + 2, disk);
  wire::store(payload.data() + 4, records_);
  wire::store(payload.data() + 8, static_cast<std::uint32_t>(used_));
  out.batch_ready(write_batch_header_bytes + packed_bytes);
  used_ = records_ = 0;
  behind_ = 0;
}

}  // namespace remus::disk
