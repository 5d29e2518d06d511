// What of this host a standby needs and takes. Used by standby.cpp.
#pragma once

#include <optional>

#include "hypervisor/xen/standby.hpp"
#include "hypervisor/xen/standby_facts.hpp"
#include "hypervisor/xen/standby_record.hpp"

namespace remus::hypervisor::xen {

inline constexpr std::string_view incoming_suffix = "--incoming";

struct StandbyPlaces {
  std::filesystem::path directory{};  ///< runtime_dir/name
  std::filesystem::path record{};
  std::filesystem::path config{};  ///< libxl's JSON of the waiting domain
  std::filesystem::path log{};
};
[[nodiscard]] StandbyPlaces places_of(const XenStandbyOptions& options);

/// remus-xen-standby. Errors: not_found.
Result<std::filesystem::path> restorer_program(const XenStandbyOptions& options);

/// Whether this host can serve the domain whose configuration is in places.config: Xen's version, memory,
/// bridges, disks, names. Errors: incompatible, exhausted, exists, with all that is missing.
Status check_host(const std::filesystem::path& program, const StandbyPlaces& places, const std::string& name,
                  const StandbyFacts& facts, const nlohmann::json& config);

struct FoundDomain {
  bool paused{};
  std::string uuid{};
};
/// The domain of this number; nullopt if there is none. Errors: io (Xen cannot be asked).
Result<std::optional<FoundDomain>> look_at_domain(std::uint32_t domid);

/// The domain with this identity; 0 if there is none. Errors: io.
Result<std::uint32_t> domain_with(const std::string& uuid);

/// Gives back all that a record names: process, domain, files. Goes on after a failure and reports the first.
Status give_back(const std::filesystem::path& program, const StandbyRecord& record,
                 const StandbyPlaces& places);

}  // namespace remus::hypervisor::xen
