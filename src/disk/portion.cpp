#include "disk/portion.hpp"

#include <algorithm>
#include <cstring>
#include <memory_resource>
#include <utility>

#include "base/assert.hpp"

namespace remus::disk {

struct Portion::Memory {
  /// Closed portions are freed by whoever let them go last.
  std::pmr::synchronized_pool_resource pool{};
};

std::shared_ptr<Portion::Memory> Portion::make_memory() {
  return std::make_shared<Memory>();
}

Portion::Portion(PortionNumber number, std::shared_ptr<ChunkPool> pool, std::shared_ptr<Memory> memory)
    : number_{number}, pool_{std::move(pool)}, memory_{std::move(memory)}, extents_{&memory_->pool} {}

Portion::~Portion() {
  pool_->give_back(chunks_);
}

std::size_t Portion::chunks_for(std::size_t bytes) const noexcept {
  const std::uint64_t room = chunks_.size() * chunk_bytes - used_;
  return bytes <= room ? 0 : static_cast<std::size_t>((bytes - room + chunk_bytes - 1) / chunk_bytes);
}

/// The last chunk is full. If memory is used up it goes to the file and its memory is used again.
Status Portion::next_chunk() {
  auto memory = pool_->memory();
  if (memory == nullptr) {
    const auto newest = std::find_if(chunks_.rbegin(), chunks_.rend(),
                                     [](const Chunk& chunk) { return chunk.memory != nullptr; });
    if (newest == chunks_.rend()) {  // all memory is with other portions
      memory = pool_->memory(true);
    } else {
      auto slot = pool_->spill(std::span{newest->memory.get(), chunk_bytes});
      if (!slot) return std::unexpected(std::move(slot.error()));
      newest->slot = *slot;
      memory = std::move(newest->memory);
    }
  }
  chunks_.push_back({std::move(memory), 0});
  return {};
}

Status Portion::put(std::uint64_t offset, std::span<const std::byte> data) {
  const Extent extent{offset, data.size(), WriteKind::data, used_};
  while (!data.empty()) {
    const std::size_t within = used_ % chunk_bytes;
    if (used_ == chunks_.size() * chunk_bytes) {
      if (auto status = next_chunk(); !status) return status;
    }
    const std::size_t bytes = std::min(data.size(), chunk_bytes - within);
    std::memcpy(chunks_.back().memory.get() + within, data.data(), bytes);
    used_ += bytes;
    data = data.subspan(bytes);
  }
  extents_.put(extent);
  return {};
}

void Portion::put(std::uint64_t offset, std::uint64_t bytes, WriteKind kind) {
  REMUS_ASSERT("pre", kind != WriteKind::data, "data is put with its bytes");
  extents_.put({offset, bytes, kind, 0});
}

bool Portion::rewrite(std::uint64_t offset, std::span<const std::byte> data) noexcept {
  std::uint64_t place = 0;
  if (!extents_.find(offset, data.size(), place)) return false;
  const std::uint64_t last = (place + data.size() - 1) / chunk_bytes;
  for (std::uint64_t chunk = place / chunk_bytes; chunk <= last; ++chunk) {
    if (chunks_[chunk].memory == nullptr) return false;
  }
  while (!data.empty()) {
    const std::size_t within = place % chunk_bytes;
    const std::size_t bytes = std::min(data.size(), chunk_bytes - within);
    std::memcpy(chunks_[place / chunk_bytes].memory.get() + within, data.data(), bytes);
    place += bytes;
    data = data.subspan(bytes);
  }
  return true;
}

Result<std::span<const std::byte>> Portion::piece_at(std::uint64_t place, std::uint64_t bytes,
                                                     std::vector<std::byte>& scratch) const {
  const Chunk& chunk = chunks_[place / chunk_bytes];
  const std::size_t within = place % chunk_bytes;
  const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, chunk_bytes - within));
  if (chunk.memory) return std::span<const std::byte>{chunk.memory.get() + within, size};
  scratch.resize(chunk_bytes);
  const auto to = std::span{scratch}.first(size);
  if (auto status = pool_->load(chunk.slot, within, to); !status)
    return std::unexpected(std::move(status.error()));
  return std::span<const std::byte>{to};
}

}  // namespace remus::disk
