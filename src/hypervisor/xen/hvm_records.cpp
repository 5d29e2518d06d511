#include "hypervisor/xen/hvm_records.hpp"

#include <fmt/format.h>
#include <xen/hvm/params.h>

#include <array>
#include <memory>

namespace remus::hypervisor::xen {

namespace {

struct PolicyFree {
  void operator()(xc_cpu_policy_t* policy) const noexcept { xc_cpu_policy_destroy(policy); }
};

/// The parameters that stock save sends, in its order.
constexpr std::array<std::uint32_t, 16> params_sent{
    HVM_PARAM_STORE_PFN,
    HVM_PARAM_IOREQ_PFN,
    HVM_PARAM_BUFIOREQ_PFN,
    HVM_PARAM_PAGING_RING_PFN,
    HVM_PARAM_MONITOR_RING_PFN,
    HVM_PARAM_SHARING_RING_PFN,
    HVM_PARAM_VM86_TSS_SIZED,
    HVM_PARAM_CONSOLE_PFN,
    HVM_PARAM_ACPI_IOPORTS_LOCATION,
    HVM_PARAM_VIRIDIAN,
    HVM_PARAM_IDENT_PT,
    HVM_PARAM_VM_GENERATION_ID_ADDR,
    HVM_PARAM_IOREQ_SERVER_PFN,
    HVM_PARAM_NR_IOREQ_SERVER_PAGES,
    HVM_PARAM_X87_FIP_WIDTH,
    HVM_PARAM_MCA_CAP,
};

}  // namespace

Status write_cpu_policy(Handles& handles, std::uint32_t domid, DeviceStateWriter& state) {
  std::uint32_t leaf_count = 0;
  std::uint32_t msr_count = 0;
  if (xc_cpu_policy_get_size(handles.xc(), &leaf_count, &msr_count) != 0)
    return handles.fail_call("cannot learn the size of processor policies");
  const std::unique_ptr<xc_cpu_policy_t, PolicyFree> policy{xc_cpu_policy_init()};
  if (!policy) return fail(Errc::exhausted, "no memory for a processor policy");
  std::vector<xen_cpuid_leaf_t> leaves(leaf_count);
  std::vector<xen_msr_entry_t> msrs(msr_count);
  if (xc_cpu_policy_get_domain(handles.xc(), domid, policy.get()) != 0 ||
      xc_cpu_policy_serialise(handles.xc(), policy.get(), leaves.data(), &leaf_count, msrs.data(),
                              &msr_count) != 0)
    return handles.fail_call(fmt::format("cannot learn the processor policy of domain {}", domid));
  if (leaf_count > 0)
    state.record(Libxc::x86_cpuid_policy, {std::as_bytes(std::span{leaves}.first(leaf_count))});
  if (msr_count > 0) state.record(Libxc::x86_msr_policy, {std::as_bytes(std::span{msrs}.first(msr_count))});
  return {};
}

Status write_tsc_info(Handles& handles, std::uint32_t domid, DeviceStateWriter& state) {
  TscInfo info;
  if (xc_domain_get_tsc_info(handles.xc(), domid, &info.mode, &info.nsec, &info.khz, &info.incarnation) < 0)
    return handles.fail_call(fmt::format("cannot read the clock of domain {}", domid));
  state.record(Libxc::x86_tsc_info, {bytes_of(info)});
  return {};
}

Status HvmRecords::write(DeviceStateWriter& state) {
  if (auto written = write_tsc_info(*handles_, domid_, state); !written) return written;
  if (auto written = write_context(state); !written) return written;
  return write_params(state);
}

Status HvmRecords::write_context(DeviceStateWriter& state) {
  if (context_.empty()) {
    const int size = xc_domain_hvm_getcontext(handles_->xc(), domid_, nullptr, 0);
    if (size <= 0)
      return handles_->fail_call(fmt::format("cannot learn the size of domain {}'s state", domid_));
    context_.resize(static_cast<std::size_t>(size));
  }
  const int got =
      xc_domain_hvm_getcontext(handles_->xc(), domid_, reinterpret_cast<std::uint8_t*>(context_.data()),
                               static_cast<std::uint32_t>(context_.size()));
  if (got <= 0) return handles_->fail_call(fmt::format("cannot read the state of domain {}", domid_));
  state.record(Libxc::hvm_context, {std::span{context_}.first(static_cast<std::size_t>(got))});
  return {};
}

Status HvmRecords::write_params(DeviceStateWriter& state) {
  std::array<HvmParam, params_sent.size()> params{};
  HvmParamsHeader header;
  for (const std::uint32_t index : params_sent) {
    std::uint64_t value = 0;
    if (xc_hvm_param_get(handles_->xc(), domid_, index, &value) != 0)
      return handles_->fail_call(fmt::format("cannot read parameter {} of domain {}", index, domid_));
    if (value != 0) params[header.count++] = {index, value};
  }
  if (header.count > 0)
    state.record(Libxc::hvm_params, {bytes_of(header), std::as_bytes(std::span{params}.first(header.count))});
  return {};
}

}  // namespace remus::hypervisor::xen
