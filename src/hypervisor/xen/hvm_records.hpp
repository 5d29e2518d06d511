// The libxc records of an HVM or PVH guest (PVH guests are HVM to Xen), and those every kind of guest has.
#pragma once

#include <memory>
#include <vector>

#include "hypervisor/xen/device_state.hpp"
#include "hypervisor/xen/handles.hpp"

namespace remus::hypervisor::xen {

/// X86_CPUID_POLICY and X86_MSR_POLICY: what the guest's processors are, which does not change.
Status write_cpu_policy(Handles& handles, std::uint32_t domid, DeviceStateWriter& state);
/// X86_TSC_INFO
Status write_tsc_info(Handles& handles, std::uint32_t domid, DeviceStateWriter& state);

class HvmRecords final {
 public:
  HvmRecords(std::shared_ptr<Handles> handles, std::uint32_t domid)
      : handles_{std::move(handles)}, domid_{domid} {}

  /// X86_TSC_INFO, HVM_CONTEXT, HVM_PARAMS: the guest must stand still.
  Status write(DeviceStateWriter& state);

 private:
  Status write_context(DeviceStateWriter& state);
  Status write_params(DeviceStateWriter& state);

  std::shared_ptr<Handles> handles_;
  std::uint32_t domid_;
  std::vector<std::byte> context_{};  ///< as large as Xen says it gets
};

}  // namespace remus::hypervisor::xen
