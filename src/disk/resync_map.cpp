#include "disk/resync_map.hpp"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.hpp"
#include "checkpoint/wire.hpp"
#include "disk/mutation.hpp"

namespace remus::disk {
namespace {

namespace wire = checkpoint::wire;

// File: a head of 512 bytes, then sectors of 63 words of bits and a checksum.
constexpr std::uint64_t map_magic = 0x3150414d59534552;  // "RESYMAP1"
constexpr std::uint64_t map_sector_bytes = 512;
constexpr std::uint64_t words_per_sector = 63;
constexpr std::uint64_t bits_per_sector = words_per_sector * 64;
constexpr std::uint64_t regions_max = std::uint64_t{1} << 32;
using Sector = std::array<std::byte, map_sector_bytes>;

void seal(Sector& sector) noexcept {
  wire::store(sector.data() + map_sector_bytes - 8,
              static_cast<std::uint64_t>(XXH3_64bits(sector.data(), map_sector_bytes - 8)));
}
bool sealed(const Sector& sector) noexcept {
  return wire::load<std::uint64_t>(sector.data() + map_sector_bytes - 8) ==
         XXH3_64bits(sector.data(), map_sector_bytes - 8);
}
std::uint64_t place_of(std::uint64_t sector) noexcept {
  return map_sector_bytes * (1 + sector);
}
std::unexpected<Error> no_map(std::string_view why) {
  return fail(Errc::corrupt, fmt::format("what is known of the replica cannot be used: {}", why),
              "the whole disk is compared or copied");
}

}  // namespace

ResyncMap::ResyncMap(std::unique_ptr<StorageFile> file, std::uint64_t disk_bytes, std::uint64_t replica,
                     std::uint64_t region_bytes)
    : file_{std::move(file)}, disk_bytes_{disk_bytes}, replica_{replica}, bits_{disk_bytes, region_bytes} {}

Status ResyncMap::write_head() {
  Sector head{};
  wire::store(head.data(), map_magic);
  wire::store(head.data() + 8, disk_bytes_);
  wire::store(head.data() + 16, replica_);
  wire::store(head.data() + 24, bits_.region_bytes());
  seal(head);
  return file_->write(0, head);
}

Status ResyncMap::write_sector(std::uint64_t sector) {
  Sector bytes{};
  const std::uint64_t end = std::min((sector + 1) * bits_per_sector, bits_.regions());
  for (std::uint64_t region = sector * bits_per_sector; region < end; ++region) {
    const std::uint64_t bit = region - sector * bits_per_sector;
    if (bits_.dirty(region)) bytes[bit / 8] |= static_cast<std::byte>(1U << bit % 8);
  }
  seal(bytes);
  return file_->write(place_of(sector), bytes);
}

Result<std::unique_ptr<ResyncMap>> ResyncMap::create(std::unique_ptr<StorageFile> file,
                                                     std::uint64_t disk_bytes, std::uint64_t replica,
                                                     std::uint64_t region_bytes, Begin begin) {
  REMUS_ASSERT("pre", region_bytes != 0 && disk_bytes / region_bytes < regions_max, "regions fit the map");
  std::unique_ptr<ResyncMap> map{new ResyncMap{std::move(file), disk_bytes, replica, region_bytes}};
  for (std::uint64_t region = 0; begin == Begin::dirty && region < map->bits_.regions(); ++region)
    map->bits_.set(region);
  // The head last: until it stands there is no map, and all counts as dirty.
  if (auto status = map->file_->resize(0); !status) return std::unexpected(std::move(status.error()));
  if (auto status = map->file_->synchronize(); !status) return std::unexpected(std::move(status.error()));
  for (std::uint64_t sector = 0; sector * bits_per_sector < map->bits_.regions(); ++sector) {
    if (auto status = map->write_sector(sector); !status) return std::unexpected(std::move(status.error()));
  }
  if (auto status = map->file_->synchronize(); !status) return std::unexpected(std::move(status.error()));
  if (auto status = map->write_head(); !status) return std::unexpected(std::move(status.error()));
  if (auto status = map->file_->synchronize(); !status) return std::unexpected(std::move(status.error()));
  return map;
}

Result<std::unique_ptr<ResyncMap>> ResyncMap::load(std::unique_ptr<StorageFile> file,
                                                   std::uint64_t disk_bytes, std::uint64_t replica) {
  const auto size = file->size();
  if (!size) return std::unexpected(size.error());
  Sector head{};
  if (*size < map_sector_bytes) return no_map("its file is too short");
  if (auto status = file->read(0, head); !status) return std::unexpected(std::move(status.error()));
  if (!sealed(head) || wire::load<std::uint64_t>(head.data()) != map_magic)
    return no_map("its file is no map");
  const auto region_bytes = wire::load<std::uint64_t>(head.data() + 24);
  if (wire::load<std::uint64_t>(head.data() + 8) != disk_bytes) return no_map("the disk has another size");
  if (wire::load<std::uint64_t>(head.data() + 16) != replica) return no_map("it is about another replica");
  if (region_bytes == 0 || disk_bytes / region_bytes >= regions_max)
    return no_map("its regions make no sense");

  std::unique_ptr<ResyncMap> map{new ResyncMap{std::move(file), disk_bytes, replica, region_bytes}};
  for (std::uint64_t region = 0; region < map->bits_.regions();) {
    const std::uint64_t sector = region / bits_per_sector;
    Sector bytes{};
    const bool there = place_of(sector + 1) <= *size;
    if (there) {
      if (auto status = map->file_->read(place_of(sector), bytes); !status)
        return std::unexpected(std::move(status.error()));
    }
    const bool sound = there && sealed(bytes);
    const std::uint64_t end = std::min((sector + 1) * bits_per_sector, map->bits_.regions());
    for (; region < end; ++region) {
      const std::uint64_t bit = region - sector * bits_per_sector;
      if (!sound || (std::to_integer<unsigned>(bytes[bit / 8]) >> bit % 8 & 1U) != 0) map->bits_.set(region);
    }
  }
  return map;
}

Status ResyncMap::changed(std::uint64_t offset, std::uint64_t bytes) {
  if (bytes == 0) return {};
  REMUS_ASSERT("pre", offset < disk_bytes_ && bytes <= disk_bytes_ - offset, "a write is within its disk");
  const std::uint64_t first = bits_.first(offset);
  const std::uint64_t last = bits_.last(offset, bytes);
  const std::lock_guard lock{mutex_};
  if (!failed_) return failed_;
  bool clean = false;
  for (std::uint64_t region = first; region <= last; ++region) {
    clean = clean || !bits_.dirty(region);
    bits_.set(region);
  }
  if (!clean) return {};
  // Others wait meanwhile, also those whose region is dirty: as rare as it is, that is not worth a second lock.
  for (std::uint64_t sector = first / bits_per_sector; sector <= last / bits_per_sector; ++sector) {
    if (auto status = write_sector(sector); !status) return failed_ = status;
  }
  if (mutated(Mutation::map_without_sync)) return {};
  if (auto status = file_->synchronize(); !status) return failed_ = status;
  return {};
}

void ResyncMap::marked(PortionNumber number) {
  const std::lock_guard lock{mutex_};
  marked_ = number;
}

Status ResyncMap::survives(PortionNumber upto) {
  const std::lock_guard lock{mutex_};
  if (!failed_) return failed_;
  if (upto < turned_ && !mutated(Mutation::map_cleaned_early)) return {};
  std::vector<std::uint64_t> sectors;
  bits_.turn([&](std::uint64_t word, std::uint64_t) {
    if (sectors.empty() || sectors.back() != word / words_per_sector)
      sectors.push_back(word / words_per_sector);
  });
  // What is in the newer window from now on is of portions not yet marked; the older one's are marked by the next turn.
  turned_ = marked_ + 1;
  for (const std::uint64_t sector : sectors) {
    if (auto status = write_sector(sector); !status) return failed_ = status;
  }
  return {};
}

Status ResyncMap::stands_for(std::uint64_t replica, bool kept) {
  const std::lock_guard lock{mutex_};
  if (!failed_) return failed_;
  if (!kept) {
    for (std::uint64_t region = 0; region < bits_.regions(); ++region) bits_.set(region);
    for (std::uint64_t sector = 0; sector * bits_per_sector < bits_.regions(); ++sector)
      if (auto status = write_sector(sector); !status) return failed_ = status;
    if (auto status = file_->synchronize(); !status) return failed_ = status;
  }
  // The head last: a map that names the new replica knows all that differs from it.
  replica_ = replica;
  if (auto status = write_head(); !status) return failed_ = status;
  if (auto status = file_->synchronize(); !status) return failed_ = status;
  return {};
}

std::uint64_t ResyncMap::replica() const {
  const std::lock_guard lock{mutex_};
  return replica_;
}

std::vector<DirtyRange> ResyncMap::dirty() const {
  const std::lock_guard lock{mutex_};
  std::vector<DirtyRange> out;
  for (std::uint64_t region = 0; region < bits_.regions(); ++region) {
    if (!bits_.dirty(region)) continue;
    const std::uint64_t offset = region * bits_.region_bytes();
    const std::uint64_t bytes = std::min(bits_.region_bytes(), disk_bytes_ - offset);
    if (!out.empty() && out.back().offset + out.back().bytes == offset) {
      out.back().bytes += bytes;
    } else {
      out.push_back({offset, bytes});
    }
  }
  return out;
}

}  // namespace remus::disk
