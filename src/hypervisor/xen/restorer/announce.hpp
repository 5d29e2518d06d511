// Tells switches and bridges where the guest's addresses live now.
//
// A guest with PV network drivers announces itself when they connect anew; one with an emulated card notices
// nothing. So RARP requests are sent for every vif, out of the bridge it is on, as QEMU does for migrated
// guests: harmless where the guest has done so itself.
#pragma once

#include "hypervisor/xen/restorer/libxl.hpp"

namespace remus::hypervisor::xen::restorer {

/// Several rounds within half a second. What cannot be announced is logged: the guest's own first packet will
/// do.
void announce(const libxl_domain_config& config);

}  // namespace remus::hypervisor::xen::restorer
