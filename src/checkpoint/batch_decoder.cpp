#include "checkpoint/batch_decoder.hpp"

#include <fmt/format.h>

#include "base/assert.hpp"
#include "checkpoint/delta.hpp"
#include "checkpoint/wire.hpp"

namespace remus::checkpoint {
namespace {

std::unexpected<Error> corrupt(std::string what) {
  return fail(Errc::corrupt, "page batch: " + std::move(what));
}

}  // namespace

BatchDecoder::BatchDecoder(const Layout& layout) : page_count_{layout.pages()} {}

BatchDecoder::~BatchDecoder() = default;

Result<BatchSummary> BatchDecoder::unpack(std::span<const std::byte> payload) {
  if (payload.size() < batch_header_bytes || payload.size() > batch_payload_bytes_max) {
    return corrupt(fmt::format("{} bytes long", payload.size()));
  }
  const std::byte* const header = payload.data();
  if (const auto version = wire::load<std::uint8_t>(header); version != batch_version) {
    return corrupt(fmt::format("version {}, this side knows {}", version, batch_version));
  }
  const auto packing = wire::load<std::uint8_t>(header + 1);
  BatchSummary summary{};
  summary.records = wire::load<std::uint32_t>(header + 4);
  summary.body_bytes = wire::load<std::uint32_t>(header + 8);
  if (wire::load<std::uint16_t>(header + 2) != 0) return corrupt("reserved bytes are set");
  if (summary.records == 0 || summary.records > batch_records_max) {
    return corrupt(fmt::format("{} records", summary.records));
  }
  auto body = unpacker_.unpack(packing, payload.subspan(batch_header_bytes), summary.body_bytes);
  if (!body) return corrupt(std::move(body.error().what));
  summary.packing = static_cast<Packing>(packing);
  body_ = *body;
  return summary;
}

template <typename Visitor>
Status BatchDecoder::walk(BatchSummary& summary, Visitor&& visit) {
  const std::byte* at = body_.data();
  const std::byte* const end = at + body_.size();
  std::int64_t next = 0;
  for (std::uint32_t i = 0; i < summary.records; ++i) {
    std::uint64_t head = 0;
    at = wire::get_varint(at, end, head);
    if (at == nullptr) return corrupt("a record's head is cut off");
    // Below 2^61 each, so the sum cannot overflow.
    const std::int64_t index = next + wire::unzigzag(head >> 2);
    if (index < 0 || index >= std::int64_t{page_count_}) {
      return corrupt(fmt::format("page {} of a guest of {} pages", index, page_count_));
    }
    next = index + 1;

    std::size_t size = 0;
    switch (head & 3) {
      case static_cast<std::uint64_t>(RecordKind::zero): ++summary.zero; break;
      case static_cast<std::uint64_t>(RecordKind::raw):
        ++summary.raw;
        size = page_bytes;
        break;
      case static_cast<std::uint64_t>(RecordKind::delta):
        ++summary.delta;
        if (end - at < 2) return corrupt("a delta's length is cut off");
        size = wire::load<std::uint16_t>(at);
        at += 2;
        break;
      default: return corrupt("a record of unknown kind");
    }
    if (static_cast<std::size_t>(end - at) < size) return corrupt("a record is cut off");
    const auto kind = static_cast<RecordKind>(head & 3);
    if (Status ok = visit(static_cast<PageIndex>(index), kind, std::span{at, size}); !ok) return ok;
    at += size;
  }
  if (at != end) return corrupt("bytes after the last record");
  return {};
}

Result<BatchSummary> BatchDecoder::validate(std::span<const std::byte> payload) {
  auto summary = unpack(payload);
  if (!summary) return summary;
  const auto sound = [](PageIndex index, RecordKind kind, std::span<const std::byte> bytes) -> Status {
    if (kind == RecordKind::delta && !valid_delta(bytes))
      return corrupt(fmt::format("malformed delta of page {}", index));
    return {};
  };
  if (auto ok = walk(*summary, sound); !ok) return std::unexpected(std::move(ok.error()));
  return summary;
}

Result<BatchSummary> BatchDecoder::apply(std::span<const std::byte> payload, Image& image) {
  REMUS_ASSERT("pre", image.pages() == page_count_, "a batch is applied to an image of the decoder's layout");
  auto summary = unpack(payload);
  if (!summary) return summary;
  const auto write = [&image](PageIndex index, RecordKind kind, std::span<const std::byte> bytes) -> Status {
    switch (kind) {
      case RecordKind::zero: image.write_zero(index); break;
      case RecordKind::raw: image.write(index, bytes.data()); break;
      case RecordKind::delta: return image.write_delta(index, bytes);
    }
    return {};
  };
  if (auto ok = walk(*summary, write); !ok) return std::unexpected(std::move(ok.error()));
  return summary;
}

}  // namespace remus::checkpoint
