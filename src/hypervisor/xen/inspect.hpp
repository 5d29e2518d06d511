// Looks at a running domain through libxl and xenstore. Changes nothing in it.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "hypervisor/xen/domain_facts.hpp"
#include "hypervisor/xen/handles.hpp"

namespace remus::hypervisor::xen {

/// The number of the domain of this name, or with this number. Errors: not_found.
Result<std::uint32_t> find_domain(const Handles& handles, std::string_view name_or_id);
/// Its name; empty if it has none.
[[nodiscard]] std::string name_of(const Handles& handles, std::uint32_t domid);

/// Virtual devices served by a QEMU whose PV frontends are connected ("xvda").
[[nodiscard]] std::set<std::string> connected_disks(const Handles& handles, std::uint32_t domid);

/// Errors: not_found; io (libxl's words).
Result<DomainFacts> inspect(Handles& handles, std::uint32_t domid);

/// Whether Xen's own save or migration of this domain is under way (its helper process is there).
[[nodiscard]] bool being_saved(std::uint32_t domid);

/// `xl destroy`. Errors: io (libxl's words); none if it is gone already.
Status destroy_domain(Handles& handles, std::uint32_t domid);

}  // namespace remus::hypervisor::xen
