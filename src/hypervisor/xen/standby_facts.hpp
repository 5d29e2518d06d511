// What the standby takes from GuestDescription::details.
#pragma once

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hypervisor/domain.hpp"
#include "hypervisor/standby.hpp"
#include "hypervisor/xen/restore_stream.hpp"

namespace remus::hypervisor::xen {

struct StandbyFacts {
  bool pv{};
  unsigned pv_width_bytes{};  ///< 8 or 4; PV only
  bool device_model{};
  XenVersion version{};
  std::string uuid{};
  nlohmann::json config{};  ///< libxl's, as the primary has it
  std::vector<std::byte> static_records{};
};

/// Errors: incompatible (not Xen's, another kind), corrupt.
Result<StandbyFacts> read_standby_facts(const GuestDescription& guest);

/// The configuration for this host: named `name`, bridges renamed, no fixed domain number, replicas (raw, served by a QEMU) where
/// the primary has the images. Errors: corrupt (it has no such disk).
[[nodiscard]] Result<nlohmann::json> config_for_this_host(
    const StandbyFacts& facts, const std::string& name, const std::map<std::string, std::string>& bridges,
    const std::map<std::string, ReplicaPlace>& replicas = {});

/// What of the configuration must be on this host and is not, a sentence each.
struct HostNeeds {
  std::vector<std::string> missing{};  ///< the guest cannot run without
  std::vector<std::string> notes{};    ///< it can, but something else will not work
};
[[nodiscard]] HostNeeds host_needs(const nlohmann::json& config);

/// First page of a block of the layout, from its name "ram@<hex>". Errors: corrupt.
Result<std::uint64_t> first_pfn_of(const checkpoint::Block& block);

}  // namespace remus::hypervisor::xen
