#include "late_writes.hpp"

#include <fmt/format.h>

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "hypervisor/xen/machine_frames.hpp"

extern "C" {
#include <xen/grant_table.h>
#include <xen/memory.h>
}

namespace remus::test {

using namespace remus::hypervisor::xen;

namespace {

/// The guest's grant table, mapped; of version 1, as Linux uses it on hosts of up to 16 TiB.
class GrantTable final {
 public:
  static Result<std::unique_ptr<GrantTable>> open(Handles& handles, std::uint32_t domid) {
    const int version = xc_gnttab_get_version(handles.xc(), domid);
    if (version < 0) return handles.fail_call("asking for the version of the grant table");
    if (version != 1)
      return fail(Errc::unsupported, fmt::format("the guest's grant table is of version {}, not 1", version));
    gnttab_query_size size{};
    size.dom = static_cast<domid_t>(domid);
    if (xc_gnttab_query_size(handles.xc(), &size) != 0 || size.status != GNTST_okay)
      return handles.fail_call("asking for the size of the grant table");
    auto made = std::unique_ptr<GrantTable>{new GrantTable{handles}};
    made->count_ = size.nr_frames * XC_PAGE_SIZE / sizeof(grant_entry_v1_t);
    void* place = nullptr;
    made->resource_ = xenforeignmemory_map_resource(
        handles.memory(), static_cast<domid_t>(domid), XENMEM_resource_grant_table,
        XENMEM_resource_grant_table_id_shared, 0, size.nr_frames, &place, PROT_READ, 0);
    if (made->resource_ == nullptr) return handles.fail_call("mapping the grant table");
    made->entries_ = static_cast<const grant_entry_v1_t*>(place);
    return made;
  }
  ~GrantTable() {
    if (resource_ != nullptr) xenforeignmemory_unmap_resource(handles_.memory(), resource_);
  }
  GrantTable(const GrantTable&) = delete;
  GrantTable& operator=(const GrantTable&) = delete;

  [[nodiscard]] std::span<const grant_entry_v1_t> entries() const noexcept { return {entries_, count_}; }

 private:
  explicit GrantTable(Handles& handles) : handles_{handles} {}

  Handles& handles_;
  xenforeignmemory_resource_handle* resource_{};
  const grant_entry_v1_t* entries_{};
  std::size_t count_{};
};

/// The log of the domain's writes, which goes on as it was: bit n of word n / 64.
class DirtyPeek final {
 public:
  explicit DirtyPeek(Handles& handles) : handles_{handles} {}
  ~DirtyPeek() {
    if (pages_ > 0) xc__hypercall_buffer_free_pages(handles_.xc(), &buffer_, pages_);
  }
  DirtyPeek(const DirtyPeek&) = delete;
  DirtyPeek& operator=(const DirtyPeek&) = delete;

  Status look(std::uint32_t domid, std::uint64_t gfns) {
    const auto pages = static_cast<int>(gfns / (XC_PAGE_SIZE * 8) + 1);
    if (xc__hypercall_buffer_alloc_pages(handles_.xc(), &buffer_, pages) == nullptr)
      return fail(Errc::exhausted, "no memory for the log");
    pages_ = pages;
    xc_shadow_op_stats_t counts{};
    const auto got =
        xc_logdirty_control(handles_.xc(), domid, XEN_DOMCTL_SHADOW_OP_PEEK, &buffer_, gfns, 0, &counts);
    if (got < 0 || static_cast<std::uint64_t>(got) != gfns) return handles_.fail_call("looking into the log");
    return {};
  }
  [[nodiscard]] bool has(std::uint64_t gfn) const noexcept {
    return (static_cast<const unsigned long*>(buffer_.hbuf)[gfn / 64] >> gfn % 64 & 1) != 0;
  }

 private:
  Handles& handles_;
  xc_hypercall_buffer_t buffer_{};
  int pages_{};
};

}  // namespace

Result<LateWrites> late_writes(Handles& handles, std::uint32_t domid) {
  const auto state = domain_state(handles, domid);
  if (!state) return fail(Errc::not_found, "the domain is gone");
  auto table = GrantTable::open(handles, domid);
  if (!table) return std::unexpected(table.error());
  xen_pfn_t end = 0;
  if (xc_domain_nr_gpfns(handles.xc(), domid, &end) < 0) return handles.fail_call("asking for its size");
  DirtyPeek log{handles};
  if (auto looked = log.look(domid, end); !looked) return std::unexpected(looked.error());
  std::unordered_map<std::uint64_t, std::uint64_t> pfns;  // PV guests grant machine frames
  if (!state->hvm) {
    auto frames = machine_frames_of(handles.memory(), domid, end);
    if (!frames) return std::unexpected(frames.error());
    for (std::uint64_t pfn = 0; pfn < frames->size(); ++pfn) pfns[(*frames)[pfn]] = pfn;
  }
  LateWrites out;
  for (const auto& entry : (*table)->entries()) {
    if ((entry.flags & GTF_type_mask) != GTF_permit_access || (entry.flags & GTF_readonly) != 0) continue;
    std::uint64_t gfn = entry.frame;
    if (!state->hvm) {
      const auto found = pfns.find(gfn);
      if (found == pfns.end()) continue;
      gfn = found->second;
    }
    if (gfn >= end) continue;
    out.granted.insert(gfn);
    if ((entry.flags & GTF_writing) != 0 || log.has(gfn)) out.written.insert(gfn);
  }
  return out;
}

}  // namespace remus::test
