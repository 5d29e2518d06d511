#include "hypervisor/xen/pv_guest.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <xen/memory.h>

#include <cstring>

#include "hypervisor/xen/call_buffer.hpp"
#include "hypervisor/xen/hvm_records.hpp"

namespace remus::hypervisor::xen {

namespace {
constexpr std::size_t m2p_entries_a_page = XC_PAGE_SIZE / sizeof(std::uint64_t);
constexpr std::size_t m2p_chunk_pages = 512;  // Xen tells its table of frames in chunks of 2 MiB
constexpr std::uint64_t unpopulated_frame = ~std::uint64_t{0};

std::uint64_t entry_of(const std::byte* page, std::size_t index) {
  std::uint64_t entry = 0;
  std::memcpy(&entry, page + index * sizeof entry, sizeof entry);
  return entry;
}
}  // namespace

Status PvGuest::open() {
  close();
  const auto state = domain_state(*handles_, domid_);
  if (!state) return fail(Errc::closed, fmt::format("domain {} is gone", domid_));
  vcpu_id_max_ = state->vcpu_id_max;
  xen_pfn_t shared = state->shared_info_frame;
  int error = 0;
  shared_info_ = static_cast<const volatile shared_info_any_t*>(
      xenforeignmemory_map(handles_->memory(), domid_, PROT_READ, 1, &shared, &error));
  if (shared_info_ == nullptr || error != 0)
    return handles_->fail_call(fmt::format("cannot map the shared information of domain {}", domid_));
  generation_ = told().p2m_generation;
  form_ = {.levels = shape_.levels()};
  if (shape_.narrow())
    if (auto found = find_compat_m2p(); !found) return found;
  if (auto mapped = map_m2p(); !mapped) return mapped;
  return read_p2m();
}

void PvGuest::close() {
  if (shared_info_ != nullptr)
    xenforeignmemory_unmap(handles_->memory(), const_cast<shared_info_any_t*>(shared_info_), 1);
  if (m2p_ != nullptr) xenforeignmemory_unmap(handles_->memory(), m2p_, m2p_pages_);
  shared_info_ = nullptr;
  m2p_ = nullptr;
  mfn_of_pfn_.clear();
  p2m_pfns_.clear();
  table_ = {};
}

PvGuest::Told PvGuest::told() const noexcept {
  const auto of = [](const auto& arch) {
    return Told{arch.pfn_to_mfn_frame_list_list, arch.p2m_cr3, arch.p2m_vaddr, arch.p2m_generation};
  };
  return shape_.narrow() ? of(shared_info_->x32.arch) : of(shared_info_->x64.arch);
}

Status PvGuest::find_compat_m2p() {
  const CallBuffer frame{handles_->xc(), sizeof(xen_pfn_t)};
  if (frame.data() == nullptr) return fail(Errc::exhausted, "no memory for a hypercall");
  xen_machphys_mfn_list list;
  std::memset(&list, 0, sizeof list);
  list.max_extents = 1;
  list.extent_start.p = reinterpret_cast<xen_pfn_t*>(frame.data());
  if (xc_memory_op(handles_->xc(), XENMEM_machphys_compat_mfn_list, &list, sizeof list) != 0 ||
      list.nr_extents != 1)
    return handles_->fail_call("cannot find this host's table of frames for 32-bit guests");
  std::memcpy(&form_.compat_m2p_frame, frame.data(), sizeof form_.compat_m2p_frame);
  return {};
}

Status PvGuest::map_m2p() {
  unsigned long mfn_max = 0;
  if (xc_maximum_ram_page(handles_->xc(), &mfn_max) < 0)
    return handles_->fail_call("cannot learn the size of this host");
  const std::size_t bytes = (mfn_max + 1) * sizeof(std::uint64_t);
  const std::size_t chunks = (bytes + m2p_chunk_pages * XC_PAGE_SIZE - 1) / (m2p_chunk_pages * XC_PAGE_SIZE);
  std::vector<xen_pfn_t> starts(chunks);
  if (xc_machphys_mfn_list(handles_->xc(), chunks, starts.data()) != 0)
    return handles_->fail_call("cannot find this host's table of frames");
  m2p_pages_ = chunks * m2p_chunk_pages;
  std::vector<xen_pfn_t> pages(m2p_pages_);
  for (std::size_t i = 0; i < m2p_pages_; ++i) pages[i] = starts[i / m2p_chunk_pages] + i % m2p_chunk_pages;
  m2p_ = xenforeignmemory_map(handles_->memory(), DOMID_XEN, PROT_READ, pages.size(), pages.data(), nullptr);
  if (m2p_ == nullptr) return handles_->fail_call("cannot map this host's table of frames");
  return {};
}

Status PvGuest::read_p2m() {
  xc_domain_meminfo info{};
  if (xc_map_domain_meminfo(handles_->xc(), domid_, &info) != 0)
    return handles_->fail_call(fmt::format("cannot read the table of frames of domain {}", domid_));
  mfn_of_pfn_.resize(info.p2m_size);
  for (std::size_t pfn = 0; pfn < mfn_of_pfn_.size(); ++pfn)
    mfn_of_pfn_[pfn] = shape_.frame_at(info.p2m_table, pfn);
  static_cast<void>(xc_unmap_domain_meminfo(handles_->xc(), &info));
  const std::size_t mfns = m2p_pages_ * m2p_entries_a_page;
  for (std::uint64_t& mfn : mfn_of_pfn_)
    if (mfn >= mfns) mfn = unpopulated_frame;  // not populated, or marked as somebody else's
  table_ = FrameTable{{static_cast<const std::uint64_t*>(m2p_), mfns}, mfn_of_pfn_, form_};
  if (p2m_changed())
    return fail(Errc::io, fmt::format("domain {} is changing its memory map", domid_), "try again");
  return {};
}

bool PvGuest::p2m_changed() const noexcept {
  const std::uint64_t now = told().p2m_generation;
  return now != generation_ || (now & 1) != 0;
}

Result<std::uint64_t> PvGuest::leaf_by_address(const GuestMemory& memory, std::uint64_t address) const {
  std::uint64_t mfn = shape_.frame_of_cr3(told().p2m_cr3);
  for (unsigned level = shape_.levels(); level > 0; --level) {
    const auto pfn = table_.pfn(mfn);
    const std::byte* page = pfn ? memory.page(*pfn) : nullptr;
    if (page == nullptr)
      return fail(Errc::io,
                  fmt::format("domain {}: no page table of level {} at {:#x}", domid_, level, address));
    mfn = entry_of(page, address >> (12 + 9 * (level - 1)) & 511) >> 12 & pfn_mask >> 12;
  }
  const auto pfn = table_.pfn(mfn);
  if (!pfn)
    return fail(Errc::io, fmt::format("domain {}: no page at {:#x} of its own table", domid_, address));
  return *pfn;
}

Result<std::uint64_t> PvGuest::leaf_by_tree(const GuestMemory& memory, std::size_t index) const {
  std::uint64_t mfn = told().list_of_lists;
  for (const std::size_t entry : {index / shape_.frames_a_page(), index % shape_.frames_a_page()}) {
    const auto pfn = table_.pfn(mfn);
    const std::byte* page = pfn ? memory.page(*pfn) : nullptr;
    if (page == nullptr)
      return fail(Errc::io, fmt::format("domain {}: its tree of frames is broken", domid_));
    mfn = shape_.frame_at(page, entry);
  }
  const auto pfn = table_.pfn(mfn);
  if (!pfn) return fail(Errc::io, fmt::format("domain {}: its tree of frames lacks a leaf", domid_));
  return *pfn;
}

Status PvGuest::find_p2m(const GuestMemory& memory) {
  p2m_pfns_.clear();
  const std::size_t pages = (mfn_of_pfn_.size() + shape_.frames_a_page() - 1) / shape_.frames_a_page();
  const Told told = this->told();
  for (std::size_t i = 0; i < pages; ++i) {
    auto pfn = told.p2m_cr3 != 0 ? leaf_by_address(memory, told.p2m_address + i * XC_PAGE_SIZE)
                                 : leaf_by_tree(memory, i);
    if (!pfn) return std::unexpected(pfn.error());
    p2m_pfns_.push_back(*pfn);
  }
  return {};
}

Status PvGuest::write_info(DeviceStateWriter& state) {
  const PvInfo info{
      static_cast<std::uint8_t>(shape_.width_bytes), static_cast<std::uint8_t>(shape_.levels()), {}};
  state.record(Libxc::x86_pv_info, {bytes_of(info)});
  return {};
}

Status PvGuest::write_p2m_frames(DeviceStateWriter& state) {
  const PvP2mFrames header{0, static_cast<std::uint32_t>(mfn_of_pfn_.size() - 1)};
  state.record(Libxc::x86_pv_p2m_frames, {bytes_of(header), std::as_bytes(std::span{p2m_pfns_})});
  return {};
}

Status PvGuest::write(DeviceStateWriter& state) {
  if (auto written = write_p2m_frames(state); !written) return written;
  if (auto written = write_tsc_info(*handles_, domid_, state); !written) return written;
  state.record(Libxc::shared_info,
               {std::as_bytes(std::span{
                   reinterpret_cast<const char*>(const_cast<const shared_info_any_t*>(shared_info_)),
                   std::size_t{XC_PAGE_SIZE}})});
  for (std::uint32_t vcpu = 0; vcpu <= vcpu_id_max_; ++vcpu)
    if (auto written = write_vcpu(vcpu, state); !written) return written;
  return {};
}

}  // namespace remus::hypervisor::xen
