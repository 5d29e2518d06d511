// Finds out about a running guest, and whether it can be protected. Changes nothing in it.
#pragma once

#include <string>
#include <vector>

#include "hypervisor/qemu/guest_facts.hpp"

namespace remus::hypervisor::qemu {

/// Asks QEMU and /proc. Errors: those of Qmp; not_found if QEMU's process cannot be found.
Result<GuestFacts> inspect(Qmp& qmp);

/// Its disks, jobs and exports alone. Errors: those of Qmp, corrupt.
Status inspect_disks(Qmp& qmp, GuestFacts& facts);

/// Every reason why this guest cannot be protected, each a sentence with what to do; empty if it can. `disks`: what is
/// taken care of, by any of a disk's names; other writable disks are a reason. Pure.
[[nodiscard]] std::vector<std::string> objections(const GuestFacts& facts,
                                                  const std::vector<std::string>& disks = {},
                                                  const std::vector<std::string>& elsewhere = {});

/// Every reason why these disks cannot be replicated, or others stand in the way. `elsewhere`: disks that the other host
/// has without us. Pure.
[[nodiscard]] std::vector<std::string> disk_objections(const GuestFacts& facts,
                                                       const std::vector<std::string>& disks,
                                                       const std::vector<std::string>& elsewhere = {});
/// The disk of that name (device, id or node); null if there is none, or more than one.
[[nodiscard]] const Disk* find_disk(const GuestFacts& facts, std::string_view name);

/// Whether nothing but raw nodes stand on the disk's file, out of query-named-block-nodes' answer. Throws
/// nlohmann::json::exception. Pure.
[[nodiscard]] bool is_plain(const Disk& disk, const nlohmann::json& nodes);

/// The guest's disks out of query-block's answer. Throws nlohmann::json::exception. Pure.
[[nodiscard]] std::vector<Disk> parse_query_block(const nlohmann::json& answer);

/// Memory devices, netdevs and blocks out of what `info network` and `info ramblock` print. Pure.
[[nodiscard]] std::vector<NetDevice> parse_info_network(std::string_view text);
[[nodiscard]] std::vector<std::string> parse_info_ramblock(std::string_view text);

/// Orders the backends as they lie in the machine's memory, node by node, and gives each its address. Pure.
void place_memory(GuestFacts& facts);

}  // namespace remus::hypervisor::qemu
