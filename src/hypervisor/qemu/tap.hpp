// Tap interfaces of the backup's host, for the waiting guest.
//
// A tap stays down until the guest is activated: otherwise what a bridge floods would queue in it and reach
// the guest as old news.
#pragma once

#include <string>

#include "base/error.hpp"

namespace remus::hypervisor::qemu {

/// Makes a persistent tap, clears offload settings a former user may have left (they break TCP), and enslaves
/// it to `bridge` unless that is empty. The tap may exist. Errors: not_found (bridge), denied, io.
Status create_tap(const std::string& name, const std::string& bridge);
Status set_tap_up(const std::string& name);
/// Idempotent.
Status remove_tap(const std::string& name);
[[nodiscard]] bool interface_exists(const std::string& name);

}  // namespace remus::hypervisor::qemu
