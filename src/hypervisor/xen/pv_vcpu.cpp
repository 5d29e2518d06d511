// The records of a PV guest's virtual processors, with pfns where the processor has machine frames.
#include <fmt/format.h>

#include <cstring>
#include <type_traits>

#include "hypervisor/xen/call_buffer.hpp"
#include "hypervisor/xen/pv_guest.hpp"

namespace remus::hypervisor::xen {

namespace {

constexpr unsigned long gdt_entries_max = 14UL * 512;  // FIRST_RESERVED_GDT_ENTRY

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

template <typename Context>
Status PvGuest::make_canonical(std::uint32_t vcpu, Context& context) const {
  const auto translate = [&](std::uint64_t mfn, const char* what) -> Result<std::uint64_t> {
    if (const auto pfn = table_.pfn(mfn)) return *pfn;
    return fail(Errc::io, fmt::format("domain {}: {} of vCPU {} is frame {:#x}, which is not the domain's",
                                      domid_, what, vcpu, mfn));
  };
  using Word = std::remove_reference_t<decltype(context.ctrlreg[0])>;
  if (vcpu == 0) {  // it made the suspend call, and passed its start-of-day page
    auto pfn = translate(context.user_regs.edx, "the suspend record");
    if (!pfn) return std::unexpected(pfn.error());
    context.user_regs.edx = static_cast<Word>(*pfn);
  }
  if (context.gdt_ents > gdt_entries_max)
    return fail(Errc::io,
                fmt::format("domain {}: vCPU {} has a GDT of {} entries", domid_, vcpu, context.gdt_ents));
  for (std::size_t i = 0; i < (context.gdt_ents + 511) / 512; ++i) {
    auto pfn = translate(context.gdt_frames[i], "the GDT");
    if (!pfn) return std::unexpected(pfn.error());
    context.gdt_frames[i] = static_cast<Word>(*pfn);
  }
  auto kernel = translate(shape_.frame_of_cr3(context.ctrlreg[3]), "CR3");
  if (!kernel) return std::unexpected(kernel.error());
  context.ctrlreg[3] = static_cast<Word>(shape_.cr3_of_frame(*kernel));
  if (shape_.narrow() || context.ctrlreg[1] == 0) return {};
  auto user = translate(context.ctrlreg[1] >> 12, "CR1");  // page table of user mode
  if (!user) return std::unexpected(user.error());
  context.ctrlreg[1] = static_cast<Word>(1 | *user << 12);
  return {};
}

Status PvGuest::write_vcpu_basic(std::uint32_t vcpu, DeviceStateWriter& state) {
  vcpu_guest_context_any_t any;
  if (xc_vcpu_getcontext(handles_->xc(), domid_, vcpu, &any) != 0)
    return handles_->fail_call(fmt::format("cannot read vCPU {} of domain {}", vcpu, domid_));
  const auto write = [&](auto& context) -> Status {
    if (auto done = make_canonical(vcpu, context); !done) return done;
    state.record(Libxc::x86_pv_vcpu_basic, {bytes_of(PvVcpuHeader{vcpu, 0}), bytes_of(context)});
    return {};
  };
  return shape_.narrow() ? write(any.x32) : write(any.x64);
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
