#include "guard/disk_verifier.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <unordered_map>
#include <utility>

#include "guard/disk_reading.hpp"

namespace remus::guard {

using disk::PortionNumber;

/// Hashes what is read. One thread.
class DiskVerifier::Sink final : public disk::CopySink {
 public:
  Sink(DiskVerifier& owner, std::size_t disk, std::uint32_t unit)
      : owner_{owner}, disk_{disk}, unit_{unit}, zero_(unit) {}

  Ticket begin(std::uint64_t offset, std::uint64_t bytes) override {
    open_[++last_] = {offset, bytes, log().open_portion()};
    return last_;
  }
  Status finish(Ticket ticket, std::span<const std::byte> data) override {
    add(ticket,
        [&](std::uint64_t at, std::size_t bytes) { return owner_.hasher_.of(data.subspan(at, bytes)); });
    return {};
  }
  Status finish_zero(Ticket ticket) override {
    std::size_t hashed = 0;
    checkpoint::Hash128 hash{};
    add(ticket, [&](std::uint64_t, std::size_t bytes) {
      if (hashed != bytes) hash = owner_.hasher_.of(std::span{zero_}.first(hashed = bytes));
      return hash;
    });
    return {};
  }
  void abandon(Ticket ticket) override { open_.erase(ticket); }

 private:
  struct Open {
    std::uint64_t offset{};
    std::uint64_t bytes{};
    PortionNumber portion{};
  };
  [[nodiscard]] const disk::WriteLog& log() const { return *owner_.sources_[disk_].log; }

  template <typename Hash>
  void add(Ticket ticket, Hash&& hash) {
    const Open open = open_.extract(ticket).mapped();
    // Blocks begin at multiples of their length and have all of it, but at the disk's end; holes may end anywhere.
    std::uint32_t unit = unit_;
    const bool at_end = open.offset + open.bytes == owner_.sources_[disk_].bytes;
    while (open.offset % unit != 0 || (open.bytes % unit != 0 && !at_end)) unit /= 2;
    Chunk chunk{.disk = disk_, .offset = open.offset, .bytes = open.bytes, .block_bytes = unit};
    for (std::uint64_t at = 0; at < open.bytes; at += unit)
      chunk.hashes.push_back(
          hash(at, static_cast<std::size_t>(std::min<std::uint64_t>(unit, open.bytes - at))));
    if (log().open_portion() == open.portion) chunk.portion = open.portion;
    chunk.changed.resize(chunk.hashes.size());
    owner_.add(std::move(chunk));
  }

  DiskVerifier& owner_;
  std::size_t disk_;
  std::uint32_t unit_;
  std::vector<std::byte> zero_;
  Ticket last_{};
  std::unordered_map<Ticket, Open> open_{};
};

DiskVerifier::DiskVerifier(std::uint64_t id, engine::Session session, std::vector<Source> sources)
    : id_{id}, hasher_{session}, sources_{std::move(sources)} {
  for (const Source& source : sources_) to_read_.push_back({{0, source.bytes}});
  thread_ = std::jthread{[this](const std::stop_token& stop) { run(stop); }};
}

DiskVerifier::~DiskVerifier() {
  thread_.request_stop();
  taken_.notify_all();
}

// --- its own thread ---

void DiskVerifier::run(const std::stop_token& stop) {
  for (int pass = 0; pass < passes_max && !stop.stop_requested(); ++pass) {
    for (std::size_t i = 0; i < sources_.size(); ++i)
      read(i, pass == 0 ? block_bytes : small_block_bytes, stop);
    std::unique_lock lock{mutex_};
    taken_.wait(lock, stop, [this] { return read_.empty(); });
    if (std::ranges::all_of(to_read_, [](const auto& ranges) { return ranges.empty(); })) break;
    // From the beginning of an epoch on: the less of it has passed, the less has been written in it.
    const auto before = takes_;
    taken_.wait(lock, stop, [&] { return takes_ != before; });
  }
  const std::lock_guard lock{mutex_};
  for (const auto& ranges : to_read_)
    for (const auto& range : ranges) left_out_bytes_ += range.bytes;
  all_read_ = true;
}

void DiskVerifier::read(std::size_t disk, std::uint32_t unit, const std::stop_token& stop) {
  std::vector<disk::CopyRange> ranges;
  {
    const std::lock_guard lock{mutex_};
    ranges = std::exchange(to_read_[disk], {});
  }
  if (ranges.empty()) return;
  const Source& source = sources_[disk];
  const std::atomic<std::uint64_t> rate{0};
  Sink sink{*this, disk, unit};
  auto reader = open_reader(source.reading, source.bytes);
  const disk::CopyControl control{
      .bytes_per_s = rate, .stop = stop, .may_read = [this] { return has_room(); }};
  const Status done = reader ? (*reader)->copy(ranges, sink, control) : std::unexpected(reader.error());
  if (done || stop.stop_requested()) return;
  spdlog::warn("verifying disks: {}", done.error().text());
  const std::lock_guard lock{mutex_};
  for (const auto& range : ranges) left_out_bytes_ += range.bytes;  // all of them, whatever was read
}

bool DiskVerifier::has_room() const {
  const std::lock_guard lock{mutex_};
  return epoch_bytes_ < epoch_bytes_max;
}

void DiskVerifier::add(Chunk chunk) {
  const std::lock_guard lock{mutex_};
  epoch_bytes_ += chunk.bytes;
  read_.push_back(std::move(chunk));
}

// --- encode thread ---

std::vector<link::Message> DiskVerifier::take(const std::vector<PortionNumber>& marks) {
  std::vector<link::Message> out;
  {
    const std::lock_guard lock{mutex_};
    std::vector<Chunk> kept;
    for (Chunk& chunk : read_) {
      if (chunk.epochs == 0 && chunk.portion != marks[chunk.disk])
        chunk.changed.assign(chunk.hashes.size(), true);
      note_changes(chunk, marks[chunk.disk]);
      if (++chunk.epochs < epochs_unchanged)
        kept.push_back(std::move(chunk));
      else
        tell(chunk, out);
    }
    read_ = std::move(kept);
    epoch_bytes_ = 0;
    ++takes_;
    if (all_read_ && !finished_) {
      finished_ = true;
      out.emplace_back(link::VerifyDiskHashes{.id = id_, .block_bytes = small_block_bytes, .last = true});
    }
  }
  taken_.notify_all();
  return out;
}

void DiskVerifier::note_changes(Chunk& chunk, PortionNumber mark) const {
  const auto portion = sources_[chunk.disk].log->portion(mark);
  if (!portion) return chunk.changed.assign(chunk.hashes.size(), true);
  portion->extents().visit_within(chunk.offset, chunk.bytes, [&](const disk::Extent& extent) {
    const std::uint64_t begin = std::max(extent.offset, chunk.offset) - chunk.offset;
    const std::uint64_t end =
        std::min(extent.offset + extent.bytes, chunk.offset + chunk.bytes) - chunk.offset;
    for (std::uint64_t block = begin / chunk.block_bytes; block * chunk.block_bytes < end; ++block)
      chunk.changed[block] = true;
  });
}

/// Runs of blocks that did not change are told, the others are read again.
void DiskVerifier::tell(const Chunk& chunk, std::vector<link::Message>& out) {
  const auto& changed = chunk.changed;
  auto& again = to_read_[chunk.disk];
  for (std::size_t first = 0; first < changed.size();) {
    std::size_t end = first + 1;
    while (end < changed.size() && changed[end] == changed[first]) ++end;
    const std::uint64_t from = chunk.offset + std::uint64_t{first} * chunk.block_bytes;
    const std::uint64_t to =
        std::min(chunk.offset + chunk.bytes, chunk.offset + std::uint64_t{end} * chunk.block_bytes);
    if (changed[first]) {
      again.push_back({from, to - from});
    } else {
      say(chunk, first, end, out);
      told_bytes_ += to - from;
    }
    first = end;
  }
}

void DiskVerifier::say(const Chunk& chunk, std::size_t first, std::size_t end,
                       std::vector<link::Message>& out) const {
  constexpr std::size_t blocks_max = link::batch_bytes_max / sizeof(checkpoint::Hash128);
  for (; first < end; first += blocks_max) {
    const std::size_t count = std::min(blocks_max, end - first);
    const auto bytes = std::as_bytes(std::span{chunk.hashes}.subspan(first, count));
    out.emplace_back(link::VerifyDiskHashes{.id = id_,
                                            .disk = static_cast<std::uint16_t>(chunk.disk),
                                            .offset = chunk.offset + std::uint64_t{first} * chunk.block_bytes,
                                            .block_bytes = chunk.block_bytes,
                                            .blocks = static_cast<std::uint32_t>(count),
                                            .hashes = link::Payload::own({bytes.begin(), bytes.end()})});
  }
}

bool DiskVerifier::finished() const {
  const std::lock_guard lock{mutex_};
  return finished_;
}

std::uint64_t DiskVerifier::told_bytes() const {
  const std::lock_guard lock{mutex_};
  return told_bytes_;
}

std::uint64_t DiskVerifier::left_out_bytes() const {
  const std::lock_guard lock{mutex_};
  return left_out_bytes_;
}

}  // namespace remus::guard
