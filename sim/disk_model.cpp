#include "disk_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <span>
#include <vector>

#include "checkpoint/wire.hpp"

namespace remus::sim {
namespace {

constexpr std::size_t disk_count = 2;
constexpr std::size_t numbers_per_disk = disk_numbers / disk_count;
constexpr std::uint64_t number_bytes = 640;  ///< more than a sector, and never aligned to one for long
constexpr std::uint64_t disk_bytes = numbers_per_disk * number_bytes;

template <typename T>
T must(Result<T> result, std::string_view doing) {
  if (!result) throw Violation("S4", fmt::format("{}: {}", doing, result.error().text()));
  return std::move(*result);
}
void must(Status status, std::string_view doing) {
  if (!status) throw Violation("S4", fmt::format("{}: {}", doing, status.error().text()));
}

/// The written numbers of one disk as a batch (docs/disk-batch-format.md); empty if there are none. 0 is written as a
/// trim.
std::vector<std::byte> batch(std::size_t disk, const DiskContent& content, std::uint8_t written) {
  namespace wire = checkpoint::wire;
  std::vector<std::byte> out(disk::write_batch_header_bytes);
  std::uint32_t records = 0;
  std::uint64_t behind = 0;
  for (std::size_t n = 0; n < numbers_per_disk; ++n) {
    const std::size_t number = disk * numbers_per_disk + n;
    if ((written >> number & 1U) == 0) continue;
    const std::uint64_t value = content[number];
    const auto kind = value == 0 ? disk::WriteKind::trim : disk::WriteKind::data;
    std::array<std::byte, 2 * wire::varint_bytes_max> head{};
    const std::uint64_t offset = n * number_bytes;
    std::byte* end = wire::put_varint(head.data(), (offset - behind) << 2 | static_cast<std::uint64_t>(kind));
    end = wire::put_varint(end, number_bytes);
    out.insert(out.end(), head.data(), end);
    if (value != 0) {
      std::array<std::uint64_t, number_bytes / 8> words{};
      words.fill(value);
      const auto bytes = std::as_bytes(std::span{words});
      out.insert(out.end(), bytes.begin(), bytes.end());
    }
    behind = offset + number_bytes;
    ++records;
  }
  if (records == 0) return {};
  wire::store(out.data(), disk::write_batch_version);
  wire::store(out.data() + 2, static_cast<std::uint16_t>(disk));
  wire::store(out.data() + 4, records);
  wire::store(out.data() + 8, static_cast<std::uint32_t>(out.size() - disk::write_batch_header_bytes));
  return out;
}

std::string disk_name(std::size_t disk) {
  return fmt::format("disk{}", disk);
}

}  // namespace

DiskModel::DiskModel(std::uint64_t seed) : storage_{seed} {
  for (std::size_t disk = 0; disk < disk_count; ++disk) {
    const auto file = must(storage_.create(disk_name(disk)), "create");
    must(file->resize(disk_bytes), "resize");
    must(file->synchronize(), "synchronize");
  }
  must(storage_.synchronize(), "synchronize");
}

void DiskModel::open() {
  std::vector<disk::ReplicaDisk> disks;
  disks.reserve(disk_count);
  for (std::size_t disk = 0; disk < disk_count; ++disk)
    disks.push_back({disk_name(disk), must(storage_.open(disk_name(disk)), "open"), disk_bytes});
  disk::ReplicaSettings settings;
  settings.journal.segment_bytes = 6 * disk::journal_format::block_bytes;
  settings.settle_bytes = 8 * number_bytes;
  set_ = must(disk::ReplicaSet::open(storage_, std::move(disks), settings), "open replicas");
}

void DiskModel::begin_session(Session session) {
  if (!set_) open();
  must(set_->begin_session(session), "begin a session");
  session_ = session;
  told_ = 0;
  active_ = half_ = false;
  held_ = 0;
  hashed_ = read();
  left_out_ = 0;
}

/// Which numbers are out of date before the copy is over is chance, and the same if it must be repeated.
void DiskModel::copy(const DiskContent& content) {
  std::uint64_t chance = session_;
  for (const std::uint64_t number : content) chance = (chance ^ number) * 0x9e3779b97f4a7c15ULL;
  chance >>= 40U;
  overtaken_ = static_cast<std::uint8_t>(chance & chance >> 8U);
  DiskContent early = content;
  std::uint8_t differs = 0;
  for (std::size_t i = 0; i < early.size(); ++i) {
    if ((overtaken_ >> i & 1U) != 0) early[i] ^= 1;
    if (early[i] != hashed_[i]) differs |= static_cast<std::uint8_t>(1U << i);
  }
  left_out_ = early.size() - static_cast<std::size_t>(std::popcount(differs));
  for (std::size_t disk = 0; disk < disk_count; ++disk)
    if (const auto payload = batch(disk, early, differs); !payload.empty())
      must(set_->synchronize(payload), "synchronize");
}

void DiskModel::hold(const DiskContent& content, std::uint8_t written) {
  for (std::size_t disk = 0; disk < disk_count; ++disk) {
    const auto payload = batch(disk, content, written);
    if (payload.empty()) continue;
    static_cast<void>(must(set_->hold(payload), "hold"));
    ++held_;
  }
}

void DiskModel::part(Epoch epoch, const DiskContent& content, std::uint8_t written) {
  if (epoch == 0) copy(content);
  half_ = true;
  hold(content, (epoch == 0 ? overtaken_ : written) & 0x5a);
}

void DiskModel::whole(Epoch epoch, const DiskContent& content, std::uint8_t written) {
  if (!half_) part(epoch, content, written);
  hold(content, (epoch == 0 ? overtaken_ : written) & 0xa5);
  must(set_->commit(epoch, held_), "commit");
  half_ = false;
  held_ = 0;
}

void DiskModel::torn() noexcept {
  if (set_) set_->drop_torn();
  half_ = false;
  held_ = 0;
}

DiskContent DiskModel::apply(Epoch epoch) {
  must(set_->apply(epoch), "apply");
  told_ = set_->survives();
  if (set_->wants_settling()) must(set_->settle(), "settle");
  return read();
}

DiskContent DiskModel::activate(Epoch epoch) {
  must(set_->activate(epoch), "activate");
  active_ = true;
  told_ = 0;
  return read();
}

void DiskModel::power_cut() {
  set_.reset();
  storage_.power_cut();
}

std::optional<DiskModel::Found> DiskModel::start() {
  if (session_ == 0) return std::nullopt;
  half_ = false;
  held_ = 0;
  open();
  const auto recovered = set_->recover();
  if (recovered) {
    if (recovered->epoch + 1 < told_)
      throw Violation("S4",
                      fmt::format("epoch {} was told to survive, {} is found", told_ - 1, recovered->epoch));
    if (recovered->session != session_) throw Violation("S4", "replicas of an earlier session are found");
    return Found{recovered->session, recovered->epoch, read()};
  }
  if (recovered.error().kind != Errc::refused || told_ != 0)
    throw Violation("S4", "replicas are lost: " + recovered.error().text());
  return std::nullopt;
}

DiskContent DiskModel::read() {
  DiskContent out{};
  for (std::size_t disk = 0; disk < disk_count; ++disk) {
    std::array<std::uint64_t, disk_bytes / 8> words{};
    must(set_->file(static_cast<disk::DiskIndex>(disk)).read(0, std::as_writable_bytes(std::span{words})),
         "read");
    for (std::size_t n = 0; n < numbers_per_disk; ++n) {
      const auto stretch = std::span{words}.subspan(n * (number_bytes / 8), number_bytes / 8);
      const bool torn = std::ranges::any_of(stretch, [&](std::uint64_t word) { return word != stretch[0]; });
      out[disk * numbers_per_disk + n] = torn ? ~std::uint64_t{0} : stretch[0];
    }
  }
  return out;
}

}  // namespace remus::sim
