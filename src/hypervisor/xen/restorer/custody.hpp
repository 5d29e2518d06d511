// Custody of a running domain, as xl's own daemon has it: acts on its shutdown, reboot or crash as its
// configuration says (on_poweroff, on_reboot, on_crash, on_watchdog, on_soft_reset).
//
// Unlike xl's daemon it stays when the domain suspends: a domain that is protected again suspends many times
// a second.
#pragma once

#include "hypervisor/xen/restorer/toolstack.hpp"

namespace remus::hypervisor::xen::restorer {

/// Returns once the domain is gone for good, or has been left to the administrator (preserve). False after a
/// failure that the log tells of.
bool keep(Toolstack& toolstack, DomainConfig& config, std::uint32_t domid);

}  // namespace remus::hypervisor::xen::restorer
