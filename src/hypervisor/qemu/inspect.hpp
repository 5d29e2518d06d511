// Finds out about a running guest, and whether it can be protected. Changes nothing in it.
#pragma once

#include <string>
#include <vector>

#include "hypervisor/qemu/guest_facts.hpp"

namespace remus::hypervisor::qemu {

/// Asks QEMU and /proc. Errors: those of Qmp; not_found if QEMU's process cannot be found.
Result<GuestFacts> inspect(Qmp& qmp);

/// Every reason why this guest cannot be protected, each a sentence with what to do; empty if it can. Pure.
[[nodiscard]] std::vector<std::string> objections(const GuestFacts& facts);

/// Memory devices, netdevs and blocks out of what `info network` and `info ramblock` print. Pure.
[[nodiscard]] std::vector<NetDevice> parse_info_network(std::string_view text);
[[nodiscard]] std::vector<std::string> parse_info_ramblock(std::string_view text);

/// Orders the backends as they lie in the machine's memory, node by node, and gives each its address. Pure.
void place_memory(GuestFacts& facts);

}  // namespace remus::hypervisor::qemu
