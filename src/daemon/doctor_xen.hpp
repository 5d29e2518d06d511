// What `remus doctor` has to say of a Xen host: what Remus needs of hypervisor and kernel there, and what its peers have.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "daemon/doctor.hpp"
#include "hypervisor/xen/presence.hpp"

namespace remus::daemon::doctor {

/// What the host was found to be.
struct XenHost {
  Result<hypervisor::xen::XenFacts> facts{};
  std::vector<std::string> missing_modules{};  ///< of xen_modules()
  bool standby_program{};                      ///< remus-xen-standby stands beside the guard
};

/// Kernel modules that hold a guest's output.
[[nodiscard]] const std::vector<std::string>& xen_modules();
/// Those that are neither loaded nor built in nor to be had by modprobe.
[[nodiscard]] std::vector<std::string> missing_modules(const std::string& kernel_release);

[[nodiscard]] std::vector<Check> judge_xen(const XenHost& host);
/// Each peer that answers: does it run Xen, is its version as new as ours, is there memory for what is protected to it.
[[nodiscard]] std::vector<Check> judge_xen_peers(const std::string& our_version, const nlohmann::json& peers,
                                                 const nlohmann::json& guests);

/// "4.17" before "4.18"; what is no version is before all.
[[nodiscard]] bool older(const std::string& version, const std::string& than);

}  // namespace remus::daemon::doctor
