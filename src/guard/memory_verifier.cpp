#include "guard/memory_verifier.hpp"

#include <spdlog/spdlog.h>

namespace remus::guard {

using checkpoint::PageIndex;

void MemoryVerifier::begin(std::uint64_t id, bool disks, std::chrono::microseconds pause_max) {
  const std::lock_guard lock{mutex_};
  id_ = id;
  disks_ = disks;
  wanted_ = true;
  whole_ = false;
  pause_max_ = pause_max;
  next_ = 0;
}

void MemoryVerifier::go_on(std::uint64_t id) {
  const std::lock_guard lock{mutex_};
  wanted_ = id == id_ && !whole_;
}

void MemoryVerifier::forget() {
  const std::lock_guard lock{mutex_};
  id_ = 0;
  wanted_ = false;
}

bool MemoryVerifier::whole(std::uint64_t id) const {
  const std::lock_guard lock{mutex_};
  return id == id_ && whole_;
}

PageIndex MemoryVerifier::reached() const {
  const std::lock_guard lock{mutex_};
  return next_;
}

std::optional<MemoryVerifier::Slice> MemoryVerifier::next(engine::Session session) {
  const std::lock_guard lock{mutex_};
  if (!wanted_) return std::nullopt;
  wanted_ = false;
  return Slice{
      .id = id_, .disks = disks_, .next = next_, .pause_max = pause_max_, .hashes = MemoryHashes{session}};
}

void MemoryVerifier::read(hypervisor::Domain& domain, Slice& slice) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + slice.pause_max;
  const auto visit = [&slice, until](PageIndex first, std::span<const std::byte> pages) {
    if (slice.read) {
      slice.hashes.replace(first, pages);
      return true;
    }
    // Asked before it is hashed: so there is a page behind each slice but the last.
    slice.last = slice.hashes.pieces().empty() || Clock::now() < until;
    if (!slice.last) return false;
    slice.hashes.add(first, pages);
    slice.next = first + static_cast<PageIndex>(pages.size() / checkpoint::page_bytes);
    return true;
  };
  const Status read = domain.read_memory(slice.next, visit);
  slice.read = true;
  if (!read) {
    spdlog::warn("verification: {}", read.error().text());
    slice.hashes.clear();
    slice.last = true;
  }
  const std::lock_guard lock{mutex_};
  if (slice.id != id_) return;
  next_ = slice.next;
  whole_ = slice.last;
}

}  // namespace remus::guard
