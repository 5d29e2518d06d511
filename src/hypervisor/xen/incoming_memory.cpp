#include "hypervisor/xen/incoming_memory.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <numeric>
#include <thread>

#include "hypervisor/xen/machine_frames.hpp"
#include "hypervisor/xen/standby_facts.hpp"
#include "hypervisor/xen/xen_headers.hpp"

namespace remus::hypervisor::xen {

namespace {

// One call maps this much: large enough to be quick, small enough that the arrays it takes do not count, nor the time to unmap it.
// It is unmapped as it was mapped: not every dom0's kernel takes parts of a mapping (PVH's does not).
constexpr std::size_t mapped_at_once = 4096;
constexpr std::chrono::milliseconds unmapped_within{5000};
constexpr std::chrono::milliseconds rest_max{100};

}  // namespace

Status IncomingMemory::map(std::uint32_t domid, bool pv, const checkpoint::Layout& layout) {
  unmap();
  foreign_ = xenforeignmemory_open(nullptr, 0);
  if (foreign_ == nullptr)
    return fail_errno(errno, "cannot map memory of other domains", "run as root in dom0");
  std::uint64_t pfn_end = 0;
  for (const checkpoint::Block& block : layout.blocks) {
    auto first = first_pfn_of(block);
    if (!first) return std::unexpected(first.error());
    first_pfns_.push_back(*first);
    pfn_end = std::max(pfn_end, *first + block.pages());
  }
  std::vector<std::uint64_t> machine;
  if (pv) {
    auto frames = machine_frames_of(foreign_, domid, pfn_end);
    if (!frames) return std::unexpected(frames.error());
    machine = std::move(*frames);
  }
  std::vector<std::uint64_t> frames;
  for (std::size_t i = 0; i < layout.blocks.size(); ++i) {
    const checkpoint::Block& block = layout.blocks[i];
    void* const place =
        ::mmap(nullptr, block.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
      return fail_errno(errno, fmt::format("no address space for {} bytes", block.bytes));
    blocks_.emplace_back(static_cast<std::byte*>(place), block.bytes);
    frames.resize(block.pages());
    if (pv)
      std::copy_n(machine.begin() + static_cast<std::ptrdiff_t>(first_pfns_[i]), frames.size(),
                  frames.begin());
    else
      std::iota(frames.begin(), frames.end(), first_pfns_[i]);
    for (std::size_t done = 0; done < frames.size(); done += mapped_at_once) {
      const auto now = std::span{frames}.subspan(done, std::min(mapped_at_once, frames.size() - done));
      if (auto mapped = map_frames(domid, now, blocks_.back().data() + done * checkpoint::page_bytes,
                                   first_pfns_[i] + done);
          !mapped)
        return mapped;
    }
  }
  return {};
}

Status IncomingMemory::map_frames(std::uint32_t domid, std::span<const std::uint64_t> frames, std::byte* at,
                                  std::uint64_t first) {
  static_assert(sizeof(xen_pfn_t) == sizeof(std::uint64_t));
  if (const auto hole = std::ranges::find(frames, no_frame); hole != frames.end())
    return fail(Errc::incompatible, fmt::format("domain {} has no page {:x}", domid,
                                                first + static_cast<std::uint64_t>(hole - frames.begin())));
  std::vector<int> errors(frames.size());
  if (xenforeignmemory_map2(foreign_, domid, at, PROT_READ | PROT_WRITE, MAP_FIXED, frames.size(),
                            frames.data(), errors.data()) == nullptr)
    return fail_errno(errno, fmt::format("cannot map the memory of domain {}", domid));
  if (const auto bad = std::ranges::find_if(errors, [](int code) { return code != 0; }); bad != errors.end())
    return fail(Errc::incompatible, fmt::format("cannot map page {:x} of domain {}: {}",
                                                first + static_cast<std::uint64_t>(bad - errors.begin()),
                                                domid, std::strerror(std::abs(*bad))));
  return {};
}

void IncomingMemory::unmap_by_and_by(const std::stop_token& hurry) noexcept {
  constexpr std::size_t piece_bytes = mapped_at_once * checkpoint::page_bytes;
  std::size_t pieces = 0;
  for (const auto& block : blocks_) pieces += (block.size() + piece_bytes - 1) / piece_bytes;
  if (pieces == 0) return unmap();
  const auto rest =
      std::min<std::chrono::microseconds>(rest_max, std::chrono::microseconds{unmapped_within} / pieces);
  for (auto& block : blocks_) {
    while (!block.empty() && !hurry.stop_requested()) {
      std::this_thread::sleep_for(rest);
      const std::size_t bytes = std::min(piece_bytes, block.size());
      ::munmap(block.data(), bytes);
      block = block.subspan(bytes);
    }
  }
  unmap();
}

void IncomingMemory::unmap() noexcept {
  for (const auto& block : blocks_)
    if (!block.empty()) ::munmap(block.data(), block.size());
  blocks_.clear();
  first_pfns_.clear();
  if (foreign_ != nullptr) xenforeignmemory_close(foreign_);
  foreign_ = nullptr;
}

const std::byte* IncomingMemory::page(std::uint64_t pfn) const noexcept {
  for (std::size_t i = 0; i < blocks_.size(); ++i)
    if (pfn >= first_pfns_[i] && pfn - first_pfns_[i] < blocks_[i].size() / checkpoint::page_bytes)
      return blocks_[i].data() + (pfn - first_pfns_[i]) * checkpoint::page_bytes;
  return nullptr;
}

}  // namespace remus::hypervisor::xen
