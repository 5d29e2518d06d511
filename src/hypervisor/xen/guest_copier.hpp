// Copies the pages a log names from the guest into a sink.
//
// For HVM and PVH guests that is a memcpy. A PV guest's page tables are written in canonical form, so the
// type of each page must be known: Xen logs a page as dirty whenever it becomes a page table, ceases to be
// one, is pinned or unpinned, so it is asked for the types of dirty pages only. A page table the running
// guest is changing is put off until it stands still.
//
// While the guest stands still several threads copy (copy_crew.hpp): each page has its place before anybody copies it, and
// the sink hears of all afterwards, in order.
#pragma once

#include <memory>
#include <vector>

#include "hypervisor/domain.hpp"
#include "hypervisor/xen/copy_crew.hpp"
#include "hypervisor/xen/device_state.hpp"
#include "hypervisor/xen/guest_memory.hpp"
#include "hypervisor/xen/page_tables.hpp"
#include "hypervisor/xen/page_writer.hpp"

namespace remus::hypervisor::xen {

class GuestCopier final {
 public:
  /// `frames` is empty for guests whose gfns are mapped by themselves, else the machine frame of each pfn.
  GuestCopier(std::shared_ptr<Handles> handles, std::uint32_t domid, const GuestMemory& memory,
              std::span<const std::uint64_t> frames, FrameTable table, CopyCrew& crew);

  /// Every page. Called back every few thousand pages; returns early when that is false.
  Status copy_all(PageWriter& writer, const std::function<bool(std::uint64_t pages)>& go_on);
  /// The pages of the log. `still`: the guest stands still; what was put off is copied, too.
  Status copy_dirty(PageWriter& writer, std::span<const unsigned long> log, bool still);
  /// Copied with every copy_dirty() of a guest that stands still, whatever the log says: what Xen itself
  /// writes.
  void always(std::uint64_t gfn);

  /// Section 2 of the device state; nothing but for PV guests.
  void write_types(DeviceStateWriter& state) const;
  /// The guest's memory as copies of it look, while it stands still; as Domain::read_memory().
  Status visit(checkpoint::PageIndex from, const MemoryVisit& visit) const;

 private:
  struct Page {
    std::uint64_t gfn{};
    checkpoint::PageIndex index{};
    const std::byte* memory{};
  };
  [[nodiscard]] bool paravirtual() const noexcept { return !frames_.empty(); }
  enum class Copied : std::uint8_t { whole, zero, broken };

  Status add(PageWriter& writer, const Page& page, bool still);
  Status flush(PageWriter& writer, bool still);
  Status flush_shared(PageWriter& writer, std::byte* room);
  [[nodiscard]] Copied copy(const Page& page, std::uint64_t type, std::byte* room) const;
  /// visit() of some pages of a paravirtual guest's run: false once it wants no more.
  [[nodiscard]] Result<bool> visit_canonical(const Run& run, std::uint32_t at, std::uint32_t pages,
                                             std::vector<xen_pfn_t>& types, const MemoryVisit& visit) const;
  [[nodiscard]] Status not_given_away(const Page& page, std::uint64_t type) const;
  [[nodiscard]] Error broken_table(const Page& page) const;
  Status write_one(PageWriter& writer, const Page& page, std::uint64_t type, bool still);

  std::uint32_t domid_;
  const GuestMemory& memory_;
  std::span<const std::uint64_t> frames_;
  FrameTable table_;
  CopyCrew& crew_;
  std::unique_ptr<PageTypes> page_types_{};  ///< PV only
  std::vector<Page> batch_{};
  std::vector<xen_pfn_t> batch_types_{};  ///< PV only
  std::vector<Copied> batch_copied_{};
  std::vector<std::uint8_t> types_{};  ///< of each page of the layout; PV only
  std::vector<Page> put_off_{};
  std::vector<Page> always_{};
};

}  // namespace remus::hypervisor::xen
