#include "checkpoint/batch_encoder.hpp"

#include <cstring>

#include "base/assert.hpp"
#include "checkpoint/delta.hpp"
#include "checkpoint/wire.hpp"

namespace remus::checkpoint {
namespace {

constexpr std::size_t delta_length_bytes = 2;
constexpr std::size_t record_bytes_max = record_header_bytes_max + page_bytes;
/// Up to here a delta is taken at once; beyond, the raw page may pack better than the difference.
constexpr std::size_t delta_bytes_sure = page_bytes / 4;
/// A delta of nearly a page is not worth its trouble.
constexpr std::size_t delta_bytes_limit = page_bytes * 7 / 8;

alignas(64) constexpr std::array<std::byte, page_bytes> zero_page{};

}  // namespace

EncoderStats EncoderStats::operator-(const EncoderStats& before) const noexcept {
  return {.pages = pages - before.pages,
          .same = same - before.same,
          .zero = zero - before.zero,
          .delta = delta - before.delta,
          .raw = raw - before.raw,
          .batches = batches - before.batches,
          .body_bytes = body_bytes - before.body_bytes,
          .out_bytes = out_bytes - before.out_bytes};
}

BatchEncoder::BatchEncoder(const Layout& layout, PageHashTable& table, PageCache& cache,
                           EncoderSettings settings)
    : page_count_{layout.pages()},
      table_{table},
      cache_{cache},
      settings_{settings},
      packer_{settings.compression, settings.link_bytes_per_s},
      body_(batch_body_bytes_max + record_bytes_max + delta_overrun_bytes) {
  REMUS_ASSERT("pre", table.pages() == page_count_,
               "the hash table has an entry for each page of the layout");
}

BatchEncoder::~BatchEncoder() = default;

void BatchEncoder::encode(const EpochBuffer& epoch, BatchOutput& out) {
  for (const PageRecord& record : epoch.records()) {
    if (record.data != nullptr) {
      add(record.index, record.data, out);
    } else {
      add_zero(record.index, out);
    }
  }
  flush(out);
}

void BatchEncoder::encode(const EpochBuffer& epoch, EncodedEpoch& out) {
  const EncoderStats before = stats_;
  encode(epoch, static_cast<BatchOutput&>(out));
  const EncoderStats now = stats_ - before;
  EpochDigest& digest = out.digest();
  digest.epoch = epoch.epoch();
  digest.pages = now.records();
  digest.batches = now.batches;
  digest.batch_bytes = now.out_bytes;
  digest.image_hash = table_.image_hash();
}

void BatchEncoder::add(PageIndex index, const std::byte* data, BatchOutput& out) {
  REMUS_ASSERT("pre", index < page_count_, "an encoded page lies within the layout");
  ++stats_.pages;
  make_room(out);

  const Hash128& zero = table_.hasher().zero_page();
  const Hash128 known = table_.get(index);
  const std::byte* reference = nullptr;
  if (settings_.delta) reference = known == zero ? zero_page.data() : cache_.lookup(index);

  // The delta goes right to where it will stay if it is taken.
  std::byte* const record = body_.data() + body_used_;
  std::byte* const delta_at = put_header(record, index, RecordKind::delta) + delta_length_bytes;
  std::size_t delta_size = 0;
  if (reference != nullptr) {
    const auto room = static_cast<std::size_t>(body_.data() + body_.size() - delta_at);
    delta_size = encode_delta(reference, data, {delta_at, room}, delta_bytes_limit);
    if (delta_size == delta_bytes_min) {
      ++stats_.same;
      return;
    }
  }

  const Hash128 hash = table_.hasher()(data);
  if (hash == known && hash != unknown_hash) {
    ++stats_.same;
    cache_.store(index, data);  // likely to be written again, and then a delta pays
    return;
  }
  if (hash == zero) {
    put_zero(index);
    return;
  }

  if (delta_size != 0 && (delta_size <= delta_bytes_sure || !raw_is_smaller(data, delta_size))) {
    wire::store(delta_at - delta_length_bytes, static_cast<std::uint16_t>(delta_size));
    end_record(index, delta_at + delta_size);
    ++stats_.delta;
  } else {
    std::byte* const at = put_header(record, index, RecordKind::raw);
    std::memcpy(at, data, page_bytes);
    end_record(index, at + page_bytes);
    ++stats_.raw;
  }
  table_.set(index, hash);
  cache_.store(index, data);
}

void BatchEncoder::add_zero(PageIndex index, BatchOutput& out) {
  REMUS_ASSERT("pre", index < page_count_, "an encoded page lies within the layout");
  ++stats_.pages;
  if (table_.get(index) == table_.hasher().zero_page()) {
    ++stats_.same;
    return;
  }
  make_room(out);
  put_zero(index);
}

void BatchEncoder::flush(BatchOutput& out) {
  if (body_records_ == 0) return;
  const std::span<std::byte> payload = out.batch_space();
  REMUS_ASSERT("pre", payload.size() >= batch_payload_bytes_max, "an output has room for a whole batch");

  const auto [packing, packed_bytes] =
      packer_.pack(std::span{body_}.first(body_used_), payload.subspan(batch_header_bytes));
  std::byte* const header = payload.data();
  wire::store(header, batch_version);
  wire::store(header + 1, static_cast<std::uint8_t>(packing));
  wire::store(header + 2, std::uint16_t{0});
  wire::store(header + 4, body_records_);
  wire::store(header + 8, static_cast<std::uint32_t>(body_used_));
  out.batch_ready(batch_header_bytes + packed_bytes);

  ++stats_.batches;
  stats_.body_bytes += body_used_;
  stats_.out_bytes += batch_header_bytes + packed_bytes;
  drop_body();
}

void BatchEncoder::new_session() {
  cache_.clear();
  drop_body();
}

void BatchEncoder::drop_body() noexcept {
  body_used_ = 0;
  body_records_ = 0;
  next_index_ = 0;
}

void BatchEncoder::make_room(BatchOutput& out) {
  if (body_used_ + record_bytes_max > batch_body_bytes_max || body_records_ == batch_records_max) flush(out);
}

std::byte* BatchEncoder::put_header(std::byte* to, PageIndex index, RecordKind kind) const noexcept {
  const std::uint64_t step = wire::zigzag(std::int64_t{index} - next_index_);
  return wire::put_varint(to, step << 2 | static_cast<std::uint64_t>(kind));
}

void BatchEncoder::end_record(PageIndex index, const std::byte* end) noexcept {
  body_used_ = static_cast<std::size_t>(end - body_.data());
  ++body_records_;
  next_index_ = std::int64_t{index} + 1;
}

void BatchEncoder::put_zero(PageIndex index) noexcept {
  end_record(index, put_header(body_.data() + body_used_, index, RecordKind::zero));
  ++stats_.zero;
  table_.set(index, table_.hasher().zero_page());
  cache_.drop(index);  // a page of zeros needs no reference kept
}

bool BatchEncoder::raw_is_smaller(const std::byte* data, std::size_t delta_size) {
  if (settings_.compression == Compression::none) return false;
  return packer_.packs_below(std::span{data, page_bytes}, delta_size);
}

Status encode_epoch(const EpochBuffer& epoch, BatchEncoder& pages, DeviceEncoder& device, EncodedEpoch& out) {
  if (auto ok = device.encode(epoch.device_state(), out.device_state()); !ok) return ok;
  pages.encode(epoch, out);
  EpochDigest& digest = out.digest();
  digest.device_bytes = epoch.device_state().size();
  digest.device_hash = pages.hasher().of(epoch.device_state());
  return {};
}

}  // namespace remus::checkpoint
