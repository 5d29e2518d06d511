#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "hypervisor/xen/domain_facts.hpp"

namespace remus::hypervisor::xen {

namespace {
constexpr std::size_t vif_count_max = 32;
/// xl rounds memory to pages and adds slack for the guest's video memory; more than this is a balloon.
constexpr std::uint64_t balloon_slack_kib = 1024;
}  // namespace

std::string_view to_string(Kind kind) noexcept {
  switch (kind) {
    case Kind::pv: return "pv";
    case Kind::pvh: return "pvh";
    case Kind::hvm: return "hvm";
  }
  return "?";
}

namespace {

bool names(const std::vector<std::string>& list, const std::string& device) {
  return std::ranges::find(list, device) != list.end();
}

std::vector<std::string> disk_objections(const DomainFacts& facts, const XenAttachOptions& options) {
  std::vector<std::string> out;
  for (const std::string& name : options.replicated_disks) {
    const auto disk = std::ranges::find(facts.disks, name, &Disk::device);
    if (disk == facts.disks.end()) {
      std::vector<std::string> known;
      for (const Disk& each : facts.disks)
        if (each.writable) known.push_back(each.device);
      out.push_back(fmt::format("it has no disk '{}'; {}", name,
                                known.empty() ? "it has no disk that it can write"
                                              : fmt::format("it has: {}", fmt::join(known, ", "))));
    } else if (!disk->writable) {
      out.push_back(fmt::format("its disk {} ({}) is read-only: it needs no replication, do not name it",
                                name, disk->target));
    } else if (disk->backend != "qdisk") {
      out.push_back(
          fmt::format("its disk {} ({}) is served by '{}', past which no writes can be followed: add "
                      "backendtype=qdisk to its "
                      "line in the domain's configuration, and start the domain anew",
                      name, disk->target, disk->backend));
    } else if (facts.cooperative && !disk->connected) {
      out.push_back(
          fmt::format("its PV driver has not taken over its disk {} ({}) yet: wait until it has booted", name,
                      disk->target));
    }
  }
  for (const Disk& disk : facts.disks)
    if (disk.writable && !names(options.vouched_disks, disk.device) &&
        !names(options.replicated_disks, disk.device))
      out.push_back(fmt::format(
          "its disk {0} ({1}) can be written, and would not be there after a failover: have it replicated "
          "(--disk {0}), "
          "say why it needs no copy (--disk {0}=scratch, shared or external), or make it read-only",
          disk.device, disk.target));
  return out;
}

}  // namespace

std::vector<std::string> objections(const DomainFacts& facts, const XenAttachOptions& options) {
  std::vector<std::string> reasons;
  const auto object = [&](std::string reason) { reasons.push_back(std::move(reason)); };
  if (facts.domid == 0) {
    object("it is Domain-0, the host itself");
    return reasons;
  }
  if (facts.dying) object("it is being destroyed");
  if (facts.shut_down) object("it has shut down or crashed");
  if (facts.paused) object("it is paused (xl unpause it, or wait until it has been created)");
  if (facts.moving) object("it is being saved, restored or migrated: wait until that has ended");
  if (facts.kind == Kind::pv && facts.pv_width_bytes != 8 && facts.pv_width_bytes != 4)
    object(fmt::format("it is a paravirtual guest whose words have {} bytes: 4 and 8 are known",
                       facts.pv_width_bytes));
  if (facts.passthrough_devices > 0)
    object(fmt::format(
        "it uses {} device(s) of the host directly (PCI passthrough): their state cannot be copied",
        facts.passthrough_devices));
  if (facts.populate_on_demand_pages > 0)
    object(fmt::format("{} pages of its memory are populated on demand: set memory = maxmem",
                       facts.populate_on_demand_pages));
  if (facts.target_kib != 0 && facts.target_kib + balloon_slack_kib < facts.maximum_kib)
    object(fmt::format("it is ballooned to {} of {} MiB: set memory = maxmem (xl mem-set)",
                       facts.target_kib >> 10, facts.maximum_kib >> 10));
  for (std::string& reason : disk_objections(facts, options)) object(std::move(reason));
  for (const std::string& device : facts.other_devices)
    object(fmt::format("it has {}, which cannot be replicated", device));
  if (facts.stub_domain) object("its device model runs in a domain of its own (a stub domain)");
  if (facts.restricted_model)
    object("its device model is restricted (dm_restrict = 1), and cannot hand over its state");
  if (facts.vifs.size() > vif_count_max)
    object(fmt::format("it has {} network interfaces; {} are possible", facts.vifs.size(), vif_count_max));
  return reasons;
}

}  // namespace remus::hypervisor::xen
