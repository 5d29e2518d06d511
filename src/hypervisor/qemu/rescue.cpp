// Frees a guest from a guard that died: see domain.hpp.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "hypervisor/qemu/disk_export.hpp"
#include "hypervisor/qemu/disk_tap.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "hypervisor/qemu/leftovers.hpp"
#include "hypervisor/qemu/marks.hpp"
#include "hypervisor/qemu/migration_control.hpp"

namespace remus::hypervisor::qemu {

using json = nlohmann::json;

namespace {

// QEMU's defaults for what we had set; its user's own values went with the dead guard.
constexpr std::uint64_t default_bandwidth_bytes = 128ULL << 20;
constexpr std::uint64_t default_checkpoint_delay_ms = 20'000;
constexpr std::uint64_t default_downtime_ms = 300;

/// Whether what is set in QEMU is ours: then its migration, if one is under way, is ours too.
Result<bool> settings_are_ours(Qmp& qmp) {
  auto parameters = qmp.execute("query-migrate-parameters");
  if (!parameters) return std::unexpected(parameters.error());
  return parameters->value("x-checkpoint-delay", std::uint64_t{0}) == our_checkpoint_delay_ms &&
         parameters->value("max-bandwidth", std::uint64_t{0}) == our_bandwidth_bytes;
}

Status reset_settings(Qmp& qmp) {
  json off = json::array();
  for (const char* name : {"x-colo", "return-path"}) off.push_back({{"capability", name}, {"state", false}});
  if (auto set = qmp.execute("migrate-set-capabilities", {{"capabilities", off}}); !set)
    return std::unexpected(set.error());
  auto set = qmp.execute("migrate-set-parameters", {{"x-checkpoint-delay", default_checkpoint_delay_ms},
                                                    {"max-bandwidth", default_bandwidth_bytes},
                                                    {"downtime-limit", default_downtime_ms}});
  if (!set) return std::unexpected(set.error());
  return {};
}

/// Taps of the guest's disks. Their jobs have ended by themselves, if the guest has written since.
Status remove_taps(Qmp& qmp, const Standstill& standstill) {
  auto jobs = qmp.execute("query-block-jobs");
  if (!jobs) return std::unexpected(jobs.error());
  for (const json& entry : *jobs)
    if (const auto id = entry.value("device", ""); id.starts_with(leftover_prefix))
      if (Status ended = end_job(qmp, id, DiskTap::job_timeout, standstill); !ended) return ended;
  auto nodes = qmp.execute("query-named-block-nodes", {{"flat", true}});
  if (!nodes) return std::unexpected(nodes.error());
  for (const json& entry : *nodes)
    if (const auto name = entry.value("node-name", ""); name.starts_with(disk_target_prefix))
      if (auto gone = qmp.execute("blockdev-del", {{"node-name", name}}); !gone)
        return std::unexpected(gone.error());
  return {};
}

}  // namespace

Status remove_leftovers(Qmp& qmp, const Standstill& standstill) {
  auto stopped = has_mark(qmp, stop_mark);
  if (!stopped) return std::unexpected(stopped.error());
  if (*stopped) {
    if (auto resumed = qmp.execute("cont"); !resumed) return std::unexpected(resumed.error());
    if (Status unmarked = take_mark(qmp, stop_mark); !unmarked) return unmarked;
  }
  if (Status gone = remove_taps(qmp, standstill); !gone) return gone;
  if (Status gone = remove_exports(qmp); !gone) return gone;
  const auto ours = [](const json& entry, const char* key) {
    const auto name = entry.value(key, "");
    return name.starts_with(leftover_prefix) ? name : std::string{};
  };
  auto objects = qmp.execute("qom-list", {{"path", "/objects"}});
  if (!objects) return std::unexpected(objects.error());
  for (const json& entry : *objects)
    if (const auto name = ours(entry, "name"); !name.empty())
      if (auto gone = qmp.execute("object-del", {{"id", name}}); !gone) return std::unexpected(gone.error());
  auto chardevs = qmp.execute("query-chardev");
  if (!chardevs) return std::unexpected(chardevs.error());
  for (const json& entry : *chardevs)
    if (const auto name = ours(entry, "label"); !name.empty() && !name.starts_with(standby_chardev_prefix))
      if (auto gone = qmp.execute("chardev-remove", {{"id", name}}); !gone)
        return std::unexpected(gone.error());
  return {};
}

Status rescue_qemu(Qmp& qmp) {
  // First let packets pass and the guest run, then tidy up; each is tried whatever became of the others.
  Status result{};
  const auto note = [&](Status status) {
    if (!status && result) result = status;
  };
  auto ours = settings_are_ours(qmp);
  if (ours && *ours) note(leave_migration(qmp));
  note(remove_leftovers(qmp));
  if (!ours) {
    note(std::unexpected(ours.error()));
  } else if (*ours) {
    note(reset_settings(qmp));
  }
  return result;
}

Status rescue_qemu(const std::filesystem::path& qmp_socket) {
  auto qmp = Qmp::connect(qmp_socket);
  if (!qmp) return std::unexpected(qmp.error());
  return rescue_qemu(**qmp);
}

}  // namespace remus::hypervisor::qemu
