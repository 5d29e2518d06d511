// A domain's memory, mapped read-only into this process for as long as it is protected.
//
// Stock save maps and unmaps 1024 pages at a time while the guest is stopped; mapped once, a dirty page costs
// a memcpy. A page of the guest is named by its gfn (PV: pfn). The populated gfns form runs, and each run is
// a block of the layout, named "ram@<first gfn, hex>":
//
//   gfn 0 ... 0x9f   0x100 ... 0xbfff      0xfeff8 ...      runs
//   page 0 ... 0x9f  0xa0  ... 0xbf9f      0xbfa0  ...      PageIndex
//
// The mappings pin the guest's pages: what the guest gives back meanwhile (a balloon) stays allocated, and
// what it gets instead makes its page count grow. So an unchanged count means that what we have mapped is the
// guest's memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/layout.hpp"
#include "hypervisor/xen/handles.hpp"

namespace remus::hypervisor::xen {

/// Asks Xen for the types of pages. Keeps what the call needs from one to the next.
class PageTypes final {
 public:
  static constexpr std::size_t pages_a_call_max = 1024;

  PageTypes(std::shared_ptr<Handles> handles, std::uint32_t domid);
  ~PageTypes();
  PageTypes(const PageTypes&) = delete;
  PageTypes& operator=(const PageTypes&) = delete;

  /// `frames` (gfns, or machine frames of a PV guest) become the types of these pages, page_type::*.
  Status ask(std::span<xen_pfn_t> frames);

 private:
  std::shared_ptr<Handles> handles_;
  std::uint32_t domid_;
  xc_hypercall_buffer_t buffer_{};
  xen_pfn_t* array_{};
};

struct Run {
  std::uint64_t first_gfn{};
  std::uint32_t pages{};
  checkpoint::PageIndex first_page{};
  const std::byte* memory{};
};

class GuestMemory final {
 public:
  explicit GuestMemory(std::shared_ptr<Handles> handles, std::uint32_t domid)
      : handles_{std::move(handles)}, domid_{domid} {}
  ~GuestMemory() { unmap(); }
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  /// Finds what is populated below `gfns`, and maps it. `frames`: the machine frame of each pfn (PV); empty
  /// where gfns are mapped by themselves. Errors: unsupported (more runs than a layout may have blocks),
  /// exhausted, io.
  Status map(std::uint64_t gfns, std::span<const std::uint64_t> frames);
  /// Idempotent.
  void unmap();

  [[nodiscard]] const checkpoint::Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] std::span<const Run> runs() const noexcept { return runs_; }
  [[nodiscard]] std::uint64_t gfns() const noexcept { return gfns_; }
  /// The page, or nullptr if it is not populated.
  [[nodiscard]] const std::byte* page(std::uint64_t gfn) const noexcept;

 private:
  Status find(PageTypes& types, std::span<const std::uint64_t> frames, std::vector<bool>& populated);
  /// Maps one run; pages that cannot be mapped are struck off `populated`.
  Result<const std::byte*> map_run(std::uint64_t first, std::uint32_t pages,
                                   std::span<const std::uint64_t> frames, std::vector<bool>& populated);

  std::shared_ptr<Handles> handles_;
  std::uint32_t domid_;
  std::uint64_t gfns_{};
  std::vector<Run> runs_{};
  checkpoint::Layout layout_{};
};

}  // namespace remus::hypervisor::xen
