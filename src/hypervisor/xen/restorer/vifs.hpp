// Virtual network interfaces, attached before the restore needs them.
//
// Attaching one takes a hotplug script and a backend's answer: the longest part of a restore, and none of it
// depends on what the guest is at that moment. So the restore is given a configuration without vifs; they are
// attached to the waiting domain by libxl_device_nic_add, as `xl network-attach` would, and libxl's stored
// configuration gets them back at the end. What this host lacks for them is thereby known when the standby is
// built.
//
// Vifs with an emulated card stay with the restore: the device model must be started with them.
#pragma once

#include "hypervisor/xen/restorer/toolstack.hpp"

namespace remus::hypervisor::xen::restorer {

class VifsAhead final {
 public:
  /// Takes the vifs out of the configuration if they can be attached ahead.
  VifsAhead(libxl_ctx* context, DomainConfig& config);
  VifsAhead(const VifsAhead&) = delete;
  VifsAhead& operator=(const VifsAhead&) = delete;
  /// Puts them back into it.
  ~VifsAhead();

  /// Attaches them to the domain. 0 or libxl's error.
  int attach(std::uint32_t domid);
  /// The restore is done and has stored a configuration without them: stores one with them. 0 or libxl's
  /// error.
  int record(std::uint32_t domid);

 private:
  libxl_ctx* context_;
  DomainConfig& config_;
  libxl_device_nic* nics_{};
  int count_{};
};

}  // namespace remus::hypervisor::xen::restorer
