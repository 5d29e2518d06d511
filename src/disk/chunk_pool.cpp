#include "disk/chunk_pool.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/assert.hpp"

namespace remus::disk {
namespace {

constexpr std::size_t idle_max = 64;  ///< 16 MiB stay ours between bursts

std::unexpected<Error> spill_error(int code, std::string_view doing, const std::filesystem::path& directory) {
  if (code == ENOSPC || code == EDQUOT)
    return fail(Errc::exhausted,
                fmt::format("cannot {} disk writes in '{}': no space left", doing, directory.string()),
                "free some space there, or name another directory");
  return fail_errno(code, fmt::format("cannot {} disk writes in '{}'", doing, directory.string()));
}

}  // namespace

Result<std::shared_ptr<ChunkPool>> ChunkPool::create(const Limits& limits,
                                                     const std::filesystem::path& directory) {
  Fd file{};
  if (limits.spill_bytes_max != 0) {
    file.reset(::open(directory.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
    if (!file) return spill_error(errno, "spill", directory);
  }
  return std::shared_ptr<ChunkPool>{new ChunkPool{limits, std::move(file), directory}};
}

ChunkPool::ChunkPool(const Limits& limits, Fd file, std::filesystem::path directory)
    : memory_max_{std::max<std::size_t>(1, static_cast<std::size_t>(limits.memory_bytes_max / chunk_bytes))},
      spill_max_{static_cast<std::size_t>(limits.spill_bytes_max / chunk_bytes)},
      file_{std::move(file)},
      directory_{std::move(directory)} {}

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
  std::size_t done = 0;
  while (done < used.size()) {
    const auto put = ::pwrite(file_.get(), used.data() + done, used.size() - done,
                              static_cast<off_t>(std::uint64_t{slot} * chunk_bytes + done));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      const int code = put < 0 ? errno : EIO;
      const std::lock_guard lock{mutex_};
      free_slots_.push_back(slot);
      return spill_error(code, "spill", directory_);
    }
    done += static_cast<std::size_t>(put);
  }
  return slot;
}

Status ChunkPool::load(std::uint32_t slot, std::size_t from, std::span<std::byte> to) const {
  std::size_t done = 0;
  while (done < to.size()) {
    const auto got = ::pread(file_.get(), to.data() + done, to.size() - done,
                             static_cast<off_t>(std::uint64_t{slot} * chunk_bytes + from + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return spill_error(got < 0 ? errno : EIO, "read back", directory_);
    done += static_cast<std::size_t>(got);
  }
  return {};
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
