// The standby's disks: where the primary's command line names an image that is replicated, the replica stands instead.
//
// A replica is raw, whatever the primary's image is, and the guest's device must not notice: so the option that made the
// disk's top node makes a raw node of the same name, and what was beneath it (a file node, a backing chain) goes. Of the
// old option only what the guest or its user can feel is kept (cache mode, discard, throttling, serial).
//
//   -drive file=a.qcow2,if=virtio,cache=none          ──▶  -drive if=virtio,cache=none,file=REPLICA,format=raw
//   -blockdev qcow2 "f" over "s", -blockdev file "s"  ──▶  -blockdev raw "f" over a file REPLICA
//
// Pure.
#pragma once

#include <string>
#include <vector>

#include "hypervisor/qemu/command_line.hpp"

namespace remus::hypervisor::qemu {

/// Rewrites the options of all disks in `paths.replicas`. What cannot be rewritten is added to `objections`.
[[nodiscard]] std::vector<Option> with_replicas(std::vector<Option> options, const GuestFacts& facts,
                                                const StandbyPaths& paths,
                                                std::vector<std::string>& objections);

}  // namespace remus::hypervisor::qemu
