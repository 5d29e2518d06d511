// A domain's replicated disks, behind the seam: what QEMU does with them (qemu/guest_disks.hpp), and what is Xen's about it.
//
// QEMU does not run a domain's processors, so its `stop` does not keep the guest from beginning requests: where a tap must be taken
// out while there are none, the domain is paused. That, and that there are taps, is noted in a file for a rescue.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "hypervisor/guest_disks.hpp"
#include "hypervisor/qemu/qmp.hpp"
#include "hypervisor/xen/handles.hpp"
#include "hypervisor/xen/served_disks.hpp"

namespace remus::hypervisor::xen {

/// What a rescue has to know of a domain.
struct DomainIdentity {
  std::uint32_t domid{};
  std::string uuid{};
};

/// Looks for the disks in the QEMU behind `monitor`. Errors: those of find_served() and Qmp.
Result<ServedDisks> inspect_served(qemu::Qmp& monitor, const DomainFacts& facts,
                                   const std::vector<std::string>& names);

/// `directory`: the guard's own, for a socket. Errors: io.
Result<std::unique_ptr<GuestDisks>> make_domain_disks(const std::shared_ptr<Handles>& handles,
                                                      DomainIdentity domain,
                                                      const std::shared_ptr<qemu::Qmp>& monitor,
                                                      const ServedDisks& disks, const DomainFacts& facts,
                                                      const std::filesystem::path& directory);

/// For a rescue: takes a dead predecessor's taps out. Nothing is done where there were none.
Status rescue_domain_disks(const std::shared_ptr<Handles>& handles, const DomainIdentity& domain);

}  // namespace remus::hypervisor::xen
