#include "disk/journal_recovery.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "checkpoint/wire.hpp"
#include "disk/mutation.hpp"

namespace remus::disk {
namespace {

using journal_format::Record;
using journal_format::RecordKind;

std::unexpected<Error> lost(std::string what) {
  return fail(Errc::corrupt,
              "the journal of disk writes has lost what had been made durable: " + std::move(what),
              "look for faults of this host's disk; the replicas must be synchronized anew");
}

/// Whole epochs of one segment, found without believing anything.
class SegmentScan final {
 public:
  struct Found {
    std::uint64_t begin{};
    std::uint32_t batches{};
  };

  SegmentScan(StorageFile& file, std::uint64_t bytes, std::uint64_t identity)
      : file_{file}, bytes_{bytes}, identity_{identity} {}

  /// The epoch that begins at `at`; moves `at` behind it. False: it is not whole.
  Result<bool> whole(Epoch epoch, std::uint64_t& at, Found& found) {
    std::uint64_t here = at;
    std::uint64_t chain = 0;
    found = {at, 0};
    for (;;) {
      Record record{};
      const auto got = read(here, record);
      if (!got) return std::unexpected(got.error());
      if (!*got || record.epoch != epoch || record.number != found.batches) return false;
      const std::uint64_t next = here + journal_format::record_bytes(record.payload_bytes);
      if (record.kind == RecordKind::commit) {
        if (!mutated(Mutation::replay_torn) &&
            (record.payload_bytes != 8 || checkpoint::wire::load<std::uint64_t>(payload().data()) != chain))
          return false;
        at = journal_format::round_up(next, journal_format::block_bytes);
        return true;
      }
      chain = journal_format::chain(chain, record.checksum);
      ++found.batches;
      here = next;
    }
  }

  /// Does any record from `at` on prove that `epoch` had been synchronized?
  Result<bool> proves(Epoch epoch, std::uint64_t at) {
    for (; at + journal_format::record_header_bytes <= bytes_; at += journal_format::block_bytes) {
      Record record{};
      const auto got = read(at, record);
      if (!got) return std::unexpected(got.error());
      if (*got && record.survives > epoch) return true;
    }
    return false;
  }

  /// False: no sound record stands there.
  Result<bool> read(std::uint64_t at, Record& record) {
    if (at + journal_format::record_header_bytes > bytes_) return false;
    buffer_.resize(journal_format::record_header_bytes + write_batch_payload_bytes_max);
    const auto header = std::span{buffer_}.first(journal_format::record_header_bytes);
    if (auto status = file_.read(at, header); !status) return std::unexpected(std::move(status.error()));
    if (!journal_format::get_header(header, identity_, record)) return false;
    payload_bytes_ = record.payload_bytes;
    if (at + journal_format::record_header_bytes + payload_bytes_ > bytes_) return false;
    const auto rest = std::span{buffer_}.subspan(journal_format::record_header_bytes, payload_bytes_);
    if (auto status = file_.read(at + journal_format::record_header_bytes, rest); !status)
      return std::unexpected(std::move(status.error()));
    return mutated(Mutation::replay_torn) || journal_format::sound(header, rest, record);
  }

  [[nodiscard]] std::span<const std::byte> payload() const noexcept {
    return std::span{buffer_}.subspan(journal_format::record_header_bytes, payload_bytes_);
  }

 private:
  StorageFile& file_;
  std::uint64_t bytes_;
  std::uint64_t identity_;
  std::vector<std::byte> buffer_{};
  std::size_t payload_bytes_{};
};

struct OpenSegment {
  std::uint64_t index{};
  Epoch first_epoch{};
  std::unique_ptr<StorageFile> file{};
  std::uint64_t bytes{};
};

/// The segments of this journal, in order. One whose header does not stand is the last, never used.
Result<std::vector<OpenSegment>> open_segments(StorageFolder& folder, std::uint64_t identity) {
  const auto indices = journal_format::segments_in(folder);
  if (!indices) return std::unexpected(indices.error());
  std::vector<OpenSegment> out;
  for (const std::uint64_t one : *indices) {
    auto file = folder.open(journal_format::segment_name(one));
    if (!file) return std::unexpected(std::move(file.error()));
    const auto bytes = (*file)->size();
    if (!bytes) return std::unexpected(bytes.error());
    std::vector<std::byte> header(
        static_cast<std::size_t>(std::min<std::uint64_t>(*bytes, journal_format::segment_header_bytes)));
    if (auto status = (*file)->read(0, header); !status) return std::unexpected(std::move(status.error()));
    journal_format::Segment segment{};
    const bool sound =
        journal_format::get_segment(header, segment) && segment.identity == identity && segment.index == one;
    if (!sound && one == indices->back()) break;
    if (!sound) return lost(fmt::format("'{}' has no header", journal_format::segment_name(one)));
    if (!out.empty() && out.back().index + 1 != one)
      return lost(fmt::format("'{}' is missing", journal_format::segment_name(out.back().index + 1)));
    out.push_back({one, segment.first_epoch, std::move(*file), *bytes});
  }
  if (out.empty()) return lost("there is no segment");
  return out;
}

}  // namespace

Result<JournalContent> replay_journal(
    StorageFolder& folder, std::uint64_t identity,
    const std::function<Status(Epoch, std::span<const std::byte>)>& visitor) {
  auto segments = open_segments(folder, identity);
  if (!segments) return std::unexpected(std::move(segments.error()));

  struct Whole {
    std::size_t segment{};
    SegmentScan::Found found{};
  };
  std::vector<Whole> epochs;
  JournalContent content{segments->front().first_epoch, segments->front().first_epoch};
  bool torn = false;
  for (std::size_t s = 0; s < segments->size(); ++s) {
    OpenSegment& segment = (*segments)[s];
    SegmentScan scan{*segment.file, segment.bytes, identity};
    std::uint64_t at = journal_format::segment_header_bytes;
    torn = torn || segment.first_epoch != content.end;
    while (!torn) {
      Whole whole{s, {}};
      const auto is_whole = scan.whole(content.end, at, whole.found);
      if (!is_whole) return std::unexpected(is_whole.error());
      if (!*is_whole) break;
      epochs.push_back(whole);
      ++content.end;
    }
    // Where epochs end, the last one may have ended in good order or torn; the next segment's first epoch tells.
    const auto proof = scan.proves(content.end, at);
    if (!proof) return std::unexpected(proof.error());
    if (*proof) return lost(fmt::format("epoch {}", content.end));
  }

  if (mutated(Mutation::replay_backwards)) std::ranges::reverse(epochs);
  Epoch epoch = content.begin;
  for (const Whole& whole : epochs) {
    OpenSegment& segment = (*segments)[whole.segment];
    SegmentScan scan{*segment.file, segment.bytes, identity};
    std::uint64_t at = whole.found.begin;
    for (std::uint32_t i = 0; i < whole.found.batches; ++i) {
      Record record{};
      const auto got = scan.read(at, record);
      if (!got) return std::unexpected(got.error());
      if (!*got) return lost(fmt::format("epoch {} changes while it is read", epoch));
      if (auto status = visitor(epoch, scan.payload()); !status)
        return std::unexpected(std::move(status.error()));
      at += journal_format::record_bytes(record.payload_bytes);
    }
    ++epoch;
  }
  return content;
}

}  // namespace remus::disk
