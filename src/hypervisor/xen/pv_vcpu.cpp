// The records of a PV guest's virtual processors, with pfns where the processor has machine frames.
#include <fmt/format.h>

#include <cstring>

#include "hypervisor/xen/pv_guest.hpp"

namespace remus::hypervisor::xen {

namespace {

constexpr unsigned long gdt_entries_max = 14UL * 512;  // FIRST_RESERVED_GDT_ENTRY

/// Memory that Xen may write to during a hypercall.
class CallBuffer final {
 public:
  CallBuffer(xc_interface* xc, std::size_t bytes) : xc_{xc} {
    data_ = static_cast<std::byte*>(xc__hypercall_buffer_alloc(xc_, &buffer_, bytes));
  }
  ~CallBuffer() {
    if (data_ != nullptr) xc__hypercall_buffer_free(xc_, &buffer_);
  }
  CallBuffer(const CallBuffer&) = delete;
  CallBuffer& operator=(const CallBuffer&) = delete;
  [[nodiscard]] std::byte* data() const noexcept { return data_; }

 private:
  xc_interface* xc_;
  xc_hypercall_buffer_t buffer_{};
  std::byte* data_{};
};

xen_domctl control(std::uint32_t domid, std::uint32_t command) {
  xen_domctl call;
  std::memset(&call, 0, sizeof call);
  call.cmd = command;
  call.domain = static_cast<domid_t>(domid);
  return call;
}

}  // namespace

Status PvGuest::write_vcpu(std::uint32_t vcpu, DeviceStateWriter& state) {
  xc_vcpuinfo_t info{};
  if (xc_vcpu_getinfo(handles_->xc(), domid_, vcpu, &info) != 0)
    return handles_->fail_call(fmt::format("cannot look at vCPU {} of domain {}", vcpu, domid_));
  if (info.online == 0) return {};
  if (auto written = write_vcpu_basic(vcpu, state); !written) return written;
  if (auto written = write_vcpu_extended(vcpu, state); !written) return written;
  if (auto written = write_vcpu_xsave(vcpu, state); !written) return written;
  return write_vcpu_msrs(vcpu, state);
}

Status PvGuest::write_vcpu_basic(std::uint32_t vcpu, DeviceStateWriter& state) {
  vcpu_guest_context_any_t any;
  if (xc_vcpu_getcontext(handles_->xc(), domid_, vcpu, &any) != 0)
    return handles_->fail_call(fmt::format("cannot read vCPU {} of domain {}", vcpu, domid_));
  auto& context = any.x64;
  const auto translate = [&](std::uint64_t mfn, const char* what) -> Result<std::uint64_t> {
    if (const auto pfn = table_.pfn(mfn)) return *pfn;
    return fail(Errc::io, fmt::format("domain {}: {} of vCPU {} is frame {:#x}, which is not the domain's",
                                      domid_, what, vcpu, mfn));
  };
  if (vcpu == 0) {  // it made the suspend call, and passed its start-of-day page
    auto pfn = translate(context.user_regs.rdx, "the suspend record");
    if (!pfn) return std::unexpected(pfn.error());
    context.user_regs.rdx = *pfn;
  }
  if (context.gdt_ents > gdt_entries_max)
    return fail(Errc::io,
                fmt::format("domain {}: vCPU {} has a GDT of {} entries", domid_, vcpu, context.gdt_ents));
  for (std::size_t i = 0; i < (context.gdt_ents + 511) / 512; ++i) {
    auto pfn = translate(context.gdt_frames[i], "the GDT");
    if (!pfn) return std::unexpected(pfn.error());
    context.gdt_frames[i] = *pfn;
  }
  auto kernel = translate(context.ctrlreg[3] >> 12, "CR3");
  if (!kernel) return std::unexpected(kernel.error());
  context.ctrlreg[3] = *kernel << 12;
  if (context.ctrlreg[1] != 0) {  // page table of user mode
    auto user = translate(context.ctrlreg[1] >> 12, "CR1");
    if (!user) return std::unexpected(user.error());
    context.ctrlreg[1] = 1 | *user << 12;
  }
  state.record(Libxc::x86_pv_vcpu_basic, {bytes_of(PvVcpuHeader{vcpu, 0}), bytes_of(context)});
  return {};
}

Status PvGuest::write_vcpu_extended(std::uint32_t vcpu, DeviceStateWriter& state) {
  xen_domctl call = control(domid_, XEN_DOMCTL_get_ext_vcpucontext);
  call.u.ext_vcpucontext.vcpu = vcpu;
  if (xc_domctl(handles_->xc(), &call) < 0)
    return handles_->fail_call(
        fmt::format("cannot read the extended state of vCPU {} of domain {}", vcpu, domid_));
  const auto& context = call.u.ext_vcpucontext;
  if (context.size > 0)
    state.record(Libxc::x86_pv_vcpu_extended,
                 {bytes_of(PvVcpuHeader{vcpu, 0}), bytes_of(context).first(context.size)});
  return {};
}

Status PvGuest::write_vcpu_xsave(std::uint32_t vcpu, DeviceStateWriter& state) {
  xen_domctl call = control(domid_, XEN_DOMCTL_getvcpuextstate);
  auto& wanted = call.u.vcpuextstate;
  wanted.vcpu = vcpu;
  const std::string what = fmt::format("cannot read the XSAVE state of vCPU {} of domain {}", vcpu, domid_);
  if (xc_domctl(handles_->xc(), &call) < 0) return handles_->fail_call(what);
  if (wanted.xfeature_mask == 0) return {};
  const CallBuffer buffer{handles_->xc(), wanted.size};
  if (buffer.data() == nullptr) return fail(Errc::exhausted, what);
  wanted.buffer.p = reinterpret_cast<std::uint64_t*>(buffer.data());
  if (xc_domctl(handles_->xc(), &call) < 0) return handles_->fail_call(what);
  if (wanted.size > 0)
    state.record(Libxc::x86_pv_vcpu_xsave,
                 {bytes_of(PvVcpuHeader{vcpu, 0}), {buffer.data(), static_cast<std::size_t>(wanted.size)}});
  return {};
}

Status PvGuest::write_vcpu_msrs(std::uint32_t vcpu, DeviceStateWriter& state) {
  xen_domctl call = control(domid_, XEN_DOMCTL_get_vcpu_msrs);
  auto& wanted = call.u.vcpu_msrs;
  wanted.vcpu = vcpu;
  const std::string what = fmt::format("cannot read the MSRs of vCPU {} of domain {}", vcpu, domid_);
  if (xc_domctl(handles_->xc(), &call) < 0) return handles_->fail_call(what);
  if (wanted.msr_count == 0) return {};
  const CallBuffer buffer{handles_->xc(), wanted.msr_count * sizeof(xen_domctl_vcpu_msr_t)};
  if (buffer.data() == nullptr) return fail(Errc::exhausted, what);
  wanted.msrs.p = reinterpret_cast<xen_domctl_vcpu_msr_t*>(buffer.data());
  if (xc_domctl(handles_->xc(), &call) < 0) return handles_->fail_call(what);
  if (wanted.msr_count > 0)
    state.record(
        Libxc::x86_pv_vcpu_msrs,
        {bytes_of(PvVcpuHeader{vcpu, 0}), {buffer.data(), wanted.msr_count * sizeof(xen_domctl_vcpu_msr_t)}});
  return {};
}

}  // namespace remus::hypervisor::xen
