// Runs one restore, from its first byte to the running guest, and reports to the guard.
//
//   stdin         the stream, unfinished until activation
//   descriptor 3  lines to the guard and back; its end means that the guard is gone
//
//   guard                                  this program
//                                          "made DOMID"       paused, as NAME--incoming
//                                          "created"          its vifs are there
//   (end of the stream)               ──▶
//                                          "restored"         named NAME, complete, still paused
//   "run" (has unmapped what it must) ──▶
//                                          "running"
//   at any time:                           "failed TEXT"      nothing is left of the domain
//
// Once the whole stream is here the guest is run even if the guard ends before it says "run": its mappings of
// the guest's memory end with it, and whoever is allowed to activate has decided by then.
#pragma once

#include <string>

#include "hypervisor/xen/restorer/toolstack.hpp"

namespace remus::hypervisor::xen::restorer {

/// The domid of the guest that now runs under `name`; nothing if the restore failed or was abandoned.
std::optional<std::uint32_t> restore(Toolstack& toolstack, DomainConfig& config, const std::string& name);

}  // namespace remus::hypervisor::xen::restorer
