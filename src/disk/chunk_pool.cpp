#include "disk/chunk_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "disk/posix_storage.hpp"

namespace remus::disk {
namespace {

constexpr std::size_t idle_max = 64;  ///< 16 MiB stay ours between bursts

}  // namespace

Result<std::shared_ptr<ChunkPool>> ChunkPool::create(const Limits& limits,
                                                     const std::filesystem::path& directory) {
  std::unique_ptr<StorageFile> file;
  if (limits.spill_bytes_max != 0) {
    auto opened = open_nameless(directory);
    if (!opened) return std::unexpected(opened.error().in("setting room aside for disk writes"));
    file = std::move(*opened);
  }
  return std::shared_ptr<ChunkPool>{new ChunkPool{limits, std::move(file)}};
}

ChunkPool::ChunkPool(const Limits& limits, std::unique_ptr<StorageFile> file)
    : memory_max_{std::max<std::size_t>(1, static_cast<std::size_t>(limits.memory_bytes_max / chunk_bytes))},
      spill_max_{static_cast<std::size_t>(limits.spill_bytes_max / chunk_bytes)},
      file_{std::move(file)} {}

bool ChunkPool::reserve(std::size_t chunks) {
  const std::lock_guard lock{mutex_};
  if (capacity() - reserved_ < chunks) return false;
  reserved_ += chunks;
  return true;
}

void ChunkPool::unreserve(std::size_t chunks) {
  {
    const std::lock_guard lock{mutex_};
    REMUS_ASSERT("pre", reserved_ >= chunks, "only what was reserved is given back");
    reserved_ -= chunks;
  }
  room_.notify_all();
}

bool ChunkPool::wait_for(std::size_t chunks, std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock{mutex_};
  return room_.wait_until(lock, deadline, [&] { return capacity() - reserved_ >= chunks; });
}

std::unique_ptr<std::byte[]> ChunkPool::memory(bool insist) {
  {
    const std::lock_guard lock{mutex_};
    if (in_memory_ >= memory_max_ && !insist) return nullptr;
    ++in_memory_;
    if (!idle_.empty()) {
      auto memory = std::move(idle_.back());
      idle_.pop_back();
      return memory;
    }
  }
  return std::make_unique_for_overwrite<std::byte[]>(chunk_bytes);
}

Result<std::uint32_t> ChunkPool::spill(std::span<const std::byte> used) {
  std::uint32_t slot = 0;
  {
    const std::lock_guard lock{mutex_};
    if (free_slots_.empty()) {
      if (slots_ == spill_max_)
        return fail(Errc::exhausted, fmt::format("disk writes have filled the {} MiB set aside for them",
                                                 capacity() * chunk_bytes >> 20));
      slot = slots_++;
    } else {
      slot = free_slots_.back();
      free_slots_.pop_back();
    }
  }
  if (auto status = file_->write(std::uint64_t{slot} * chunk_bytes, used); !status) {
    const std::lock_guard lock{mutex_};
    free_slots_.push_back(slot);
    return std::unexpected(status.error().in("spilling disk writes"));
  }
  return slot;
}

Status ChunkPool::load(std::uint32_t slot, std::size_t from, std::span<std::byte> to) const {
  auto status = file_->read(std::uint64_t{slot} * chunk_bytes + from, to);
  return status ? status : std::unexpected(status.error().in("reading spilled disk writes back"));
}

void ChunkPool::give_back(std::vector<Chunk>& chunks) {
  if (chunks.empty()) return;
  {
    const std::lock_guard lock{mutex_};
    for (Chunk& chunk : chunks) {
      if (chunk.memory) {
        --in_memory_;
        if (idle_.size() < idle_max) idle_.push_back(std::move(chunk.memory));
      } else {
        free_slots_.push_back(chunk.slot);
      }
    }
    REMUS_ASSERT("pre", reserved_ >= chunks.size(), "every chunk was reserved");
    reserved_ -= chunks.size();
  }
  chunks.clear();
  room_.notify_all();
}

std::size_t ChunkPool::reserved() const {
  const std::lock_guard lock{mutex_};
  return reserved_;
}

std::size_t ChunkPool::spilled() const {
  const std::lock_guard lock{mutex_};
  return slots_ - free_slots_.size();
}

}  // namespace remus::disk
