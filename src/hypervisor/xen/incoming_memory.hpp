// The memory of a domain that waits to be restored, mapped writable.
//
// HVM and PVH: guest frames are mapped by their numbers. PV: Xen maps machine frames only, and which ones the
// restore got is known to it alone (machine_frames.hpp finds them out).
//
// A PV guest must not run, nor its page tables be pinned, while somebody else can write to its pages: unmap()
// first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "base/error.hpp"
#include "checkpoint/layout.hpp"

struct xenforeignmemory_handle;

namespace remus::hypervisor::xen {

class IncomingMemory final {
 public:
  IncomingMemory() noexcept = default;
  IncomingMemory(const IncomingMemory&) = delete;
  IncomingMemory& operator=(const IncomingMemory&) = delete;
  ~IncomingMemory() { unmap(); }

  /// Maps every page of the layout. Errors: io, incompatible (the domain does not have all these pages).
  Status map(std::uint32_t domid, bool pv, const checkpoint::Layout& layout);
  /// Gives all of it back. Idempotent.
  void unmap() noexcept;
  /// The same, within some seconds and with rests, for the sake of a guest that has just begun to run on the same processors.
  /// At once when it is asked to stop.
  void unmap_by_and_by(const std::stop_token& hurry) noexcept;

  [[nodiscard]] bool mapped() const noexcept { return !blocks_.empty(); }
  /// One span for each block of the layout.
  [[nodiscard]] const std::vector<std::span<std::byte>>& blocks() const noexcept { return blocks_; }
  /// The page of this number; nullptr if the layout does not have it.
  [[nodiscard]] const std::byte* page(std::uint64_t pfn) const noexcept;

 private:
  Status map_frames(std::uint32_t domid, std::span<const std::uint64_t> frames, std::byte* at,
                    std::uint64_t first);

  xenforeignmemory_handle* foreign_{};
  std::vector<std::span<std::byte>> blocks_{};
  std::vector<std::uint64_t> first_pfns_{};
};

}  // namespace remus::hypervisor::xen
