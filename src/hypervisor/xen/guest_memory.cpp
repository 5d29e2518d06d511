#include "hypervisor/xen/guest_memory.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "hypervisor/xen/records.hpp"

namespace remus::hypervisor::xen {

namespace {
constexpr std::uint64_t gfns_max = std::uint64_t{1} << 32;  // checkpoint::PageIndex has 32 bits
constexpr unsigned type_shift = 28;                         // where XEN_DOMCTL_PFINFO_* have their four bits
}  // namespace

PageTypes::PageTypes(std::shared_ptr<Handles> handles, std::uint32_t domid)
    : handles_{std::move(handles)}, domid_{domid} {
  array_ = static_cast<xen_pfn_t*>(
      xc__hypercall_buffer_alloc(handles_->xc(), &buffer_, pages_a_call_max * sizeof(xen_pfn_t)));
}

PageTypes::~PageTypes() {
  if (array_ != nullptr) xc__hypercall_buffer_free(handles_->xc(), &buffer_);
}

Status PageTypes::ask(std::span<xen_pfn_t> frames) {
  if (array_ == nullptr) return fail(Errc::exhausted, "no memory for the types of pages");
  for (std::size_t at = 0; at < frames.size(); at += pages_a_call_max) {
    const auto batch = frames.subspan(at, std::min(pages_a_call_max, frames.size() - at));
    std::ranges::copy(batch, array_);
    xen_domctl call;
    std::memset(&call, 0, sizeof call);
    call.cmd = XEN_DOMCTL_getpageframeinfo3;
    call.domain = static_cast<domid_t>(domid_);
    call.u.getpageframeinfo3.num = batch.size();
    call.u.getpageframeinfo3.array.p = array_;
    if (xc_domctl(handles_->xc(), &call) != 0)
      return handles_->fail_call(fmt::format("cannot learn the types of domain {}'s pages", domid_));
    for (std::size_t i = 0; i < batch.size(); ++i) batch[i] = array_[i] >> type_shift & 0xf;
  }
  return {};
}

Status GuestMemory::find(PageTypes& types, std::span<const std::uint64_t> frames,
                         std::vector<bool>& populated) {
  std::vector<xen_pfn_t> batch(PageTypes::pages_a_call_max);
  for (std::uint64_t first = 0; first < gfns_; first += batch.size()) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(batch.size(), gfns_ - first));
    for (std::size_t i = 0; i < count; ++i) batch[i] = frames.empty() ? first + i : frames[first + i];
    if (auto asked = types.ask(std::span{batch}.first(count)); !asked) return asked;
    for (std::size_t i = 0; i < count; ++i) populated[first + i] = batch[i] < page_type::broken;
  }
  return {};
}

Result<const std::byte*> GuestMemory::map_run(std::uint64_t first, std::uint32_t pages,
                                              std::span<const std::uint64_t> frames,
                                              std::vector<bool>& populated) {
  std::vector<xen_pfn_t> names(pages);
  for (std::uint32_t i = 0; i < pages; ++i) names[i] = frames.empty() ? first + i : frames[first + i];
  std::vector<int> errors(pages);
  void* memory =
      xenforeignmemory_map(handles_->memory(), domid_, PROT_READ, pages, names.data(), errors.data());
  if (memory == nullptr && std::ranges::all_of(errors, [](int error) { return error == 0; }))
    return handles_->fail_call(fmt::format("cannot map {} pages of domain {}", pages, domid_));
  if (std::ranges::all_of(errors, [](int error) { return error == 0; }))
    return static_cast<const std::byte*>(memory);
  if (memory != nullptr) xenforeignmemory_unmap(handles_->memory(), memory, pages);
  for (std::uint32_t i = 0; i < pages; ++i)
    if (errors[i] != 0) populated[first + i] = false;
  return nullptr;
}

Status GuestMemory::map(std::uint64_t gfns, std::span<const std::uint64_t> frames) {
  unmap();
  if (gfns > gfns_max) return fail(Errc::unsupported, fmt::format("domain {} has more than 16 TiB", domid_));
  gfns_ = gfns;
  std::vector<bool> populated(gfns);
  PageTypes types{handles_, domid_};
  if (auto found = find(types, frames, populated); !found) return found;
  for (std::uint64_t gfn = 0; gfn < gfns;) {
    if (!populated[gfn]) {
      ++gfn;
      continue;
    }
    std::uint64_t end = gfn;
    while (end < gfns && populated[end]) ++end;
    const auto pages = static_cast<std::uint32_t>(end - gfn);
    auto memory = map_run(gfn, pages, frames, populated);
    if (!memory) {
      unmap();
      return std::unexpected(memory.error());
    }
    if (*memory == nullptr) continue;  // some were struck off: the run is looked at again
    if (runs_.size() == checkpoint::layout_blocks_max) {
      xenforeignmemory_unmap(handles_->memory(), const_cast<std::byte*>(*memory), pages);
      unmap();
      return fail(Errc::unsupported,
                  fmt::format("domain {}'s memory lies in more than {} pieces", domid_,
                              checkpoint::layout_blocks_max),
                  "restart the guest without ballooning");
    }
    runs_.push_back({gfn, pages, layout_.pages(), *memory});
    layout_.add(fmt::format("ram@{:x}", gfn), std::uint64_t{pages} * checkpoint::page_bytes);
    gfn = end;
  }
  if (runs_.empty())
    return fail(Errc::io, fmt::format("domain {} has no memory that could be mapped", domid_));
  return {};
}

void GuestMemory::unmap() {
  for (const Run& run : runs_)
    xenforeignmemory_unmap(handles_->memory(), const_cast<std::byte*>(run.memory), run.pages);
  runs_.clear();
  layout_ = {};
}

const std::byte* GuestMemory::page(std::uint64_t gfn) const noexcept {
  const auto after = std::ranges::upper_bound(runs_, gfn, {}, &Run::first_gfn);
  if (after == runs_.begin()) return nullptr;
  const Run& run = *(after - 1);
  if (gfn - run.first_gfn >= run.pages) return nullptr;
  return run.memory + (gfn - run.first_gfn) * checkpoint::page_bytes;
}

}  // namespace remus::hypervisor::xen
