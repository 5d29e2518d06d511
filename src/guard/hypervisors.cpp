#include "guard/hypervisors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include "base/files.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "hypervisor/qemu/guest_disks.hpp"
#include "hypervisor/qemu/qmp.hpp"
#include "hypervisor/qemu/standby.hpp"
#include "hypervisor/xen/presence.hpp"
#include "output/plug.hpp"
#include "output/redirector.hpp"

#ifdef REMUS_XEN
#include "hypervisor/xen/domain.hpp"
#include "hypervisor/xen/standby.hpp"
#endif

namespace remus::guard {

namespace qemu = hypervisor::qemu;

namespace {

/// What a 32-bit program cannot hold, it cannot hold.
std::size_t hold_bytes_max(const GuardSpec& spec) {
  return static_cast<std::size_t>(
      std::min<std::uint64_t>(spec.options.output_buffer_bytes, std::numeric_limits<std::size_t>::max()));
}

std::unexpected<Error> unknown(const std::string& hypervisor) {
  return fail(Errc::unsupported, fmt::format("hypervisor '{}' is not known to this build", hypervisor));
}

using Places = std::map<std::string, hypervisor::ReplicaPlace>;

qemu::StandbyOptions standby_options(const GuardSpec& spec, const Places& disks = {}) {
  return {.name = spec.guest,
          .image_root = spec.dirs.image,
          .runtime_dir = spec.dirs.run / "standby",
          .binary = {},
          .bridges = spec.options.bridges,
          .taps = {},
          .replicas = disks,
          .environment = {}};
}

/// The guard's own, for the sockets that a guest's disks are read by.
Result<std::filesystem::path> disk_directory(const GuardSpec& spec) {
  auto directory = spec.dirs.run / "guards" / (spec.guest + ".disks");
  if (const Status made = make_directory(directory, 0700); !made) return std::unexpected(made.error());
  return directory;
}

Result<ProtectedGuest> attach_qemu_guest(const GuardSpec& spec) {
  auto qmp = qemu::Qmp::connect(spec.qmp);
  if (!qmp) return std::unexpected(qmp.error());
  qemu::AttachOptions attach;
  for (const auto& disk : spec.options.disks)
    (disk.mode == DiskMode::replicate ? attach.disks : attach.elsewhere).push_back(disk.name);
  auto domain = qemu::attach_qemu(*qmp, std::move(attach));
  if (!domain) return std::unexpected(domain.error());
  auto redirector = output::make_redirector(
      *qmp, {.netdevs = (*domain)->netdevs(), .hold_bytes_max = hold_bytes_max(spec)});
  (*domain)->set_pause_hooks(redirector->pause_hooks());

  const auto orderly = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<void> subscription = (*qmp)->subscribe([orderly](const qemu::Event& event) {
    if (event.name == "SHUTDOWN") orderly->store(true);
  });
  ProtectedGuest guest;
  guest.pid = (*domain)->pid();
  guest.handle = {{"qmp", spec.qmp}, {"pid", guest.pid}};
  guest.terminate = [qmp = *qmp]() -> Status {
    auto quit = qmp->execute("quit");
    if (!quit && quit.error().kind != Errc::closed) return std::unexpected(quit.error());
    return {};
  };
  guest.shut_down_in_order = [orderly, subscription] { return orderly->load(); };
  if (auto disks = (*domain)->replicated_disks(); !disks.empty()) {
    const auto directory = disk_directory(spec);
    if (!directory) return std::unexpected(directory.error());
    guest.disks = qemu::make_guest_disks(*qmp, std::move(disks), *directory);
  }
  guest.domain = std::move(*domain);
  guest.output = std::move(redirector);
  return guest;
}

Result<std::unique_ptr<hypervisor::Standby>> make_qemu_standby(const GuardSpec& spec, const Places& disks) {
  const auto options = standby_options(spec, disks);
  if (const auto left = qemu::find_standby(options); left && left->running && left->activated)
    return fail(
        Errc::refused,
        fmt::format("guest '{}' runs on this host already (process {}, activated by an earlier failover)",
                    spec.guest, left->pid),
        "protect it from here, or shut it down first");
  return qemu::make_qemu_standby(options);
}

#ifdef REMUS_XEN

namespace xen = hypervisor::xen;

/// What a domain was seen to be. xl destroys one that has shut down soon after: then only memory tells the
/// two apart.
class DomainFate final {
 public:
  DomainFate(std::shared_ptr<xen::DomainProbe> probe, std::uint32_t domid, std::string uuid)
      : probe_{std::move(probe)}, domid_{domid}, uuid_{std::move(uuid)} {}

  [[nodiscard]] bool exists() {
    const auto sight = probe_->look(domid_);
    if (!sight) return true;  // a hypervisor that does not answer proves nothing
    if (sight->uuid == uuid_ && sight->life == xen::DomainLife::shut_down) shut_down_ = true;
    return sight->uuid == uuid_ && sight->life == xen::DomainLife::lives;
  }
  /// Power-off, reboot and crash alike: what follows is the domain's own on_poweroff, on_reboot, on_crash on
  /// this host, and a copy that went on elsewhere would be a second one.
  [[nodiscard]] bool shut_down() const { return shut_down_; }

 private:
  std::shared_ptr<xen::DomainProbe> probe_;
  std::uint32_t domid_;
  std::string uuid_;
  std::atomic<bool> shut_down_{false};
};

Result<std::unique_ptr<xen::XenDomain>> attach_xen_with_disks(const GuardSpec& spec) {
  xen::XenAttachOptions attach;
  for (const auto& disk : spec.options.disks)
    (disk.mode == DiskMode::replicate ? attach.replicated_disks : attach.vouched_disks).push_back(disk.name);
  return xen::attach_xen(spec.guest, std::move(attach));
}

Result<ProtectedGuest> attach_xen_guest(const GuardSpec& spec) {
  ProtectedGuest guest;
  guest.terminate = [name = spec.guest] { return xen::terminate_xen(name); };
  auto attached = attach_xen_with_disks(spec);
  if (!attached && spec.superseded_by == 0) return std::unexpected(attached.error());
  if (!attached) {
    // It is to be destroyed, whatever keeps it from being protected. The fence counts as done once it is.
    guest.exists = [name = spec.guest] {
      const auto gone = xen::terminate_xen(name);
      return !gone && gone.error().kind != Errc::not_found;
    };
    guest.shut_down_in_order = [] { return false; };
    return guest;
  }
  auto domain = std::move(*attached);
  auto probe = xen::DomainProbe::open();
  if (!probe) return std::unexpected(probe.error());
  const auto sight = (*probe)->look(domain->domid());
  if (!sight) return std::unexpected(sight.error());
  output::PlugOptions plug{.guest = spec.guest, .interfaces = {}, .hold_bytes_max = hold_bytes_max(spec)};
  for (const auto& vif : domain->vifs()) plug.interfaces.push_back(vif.interface);
  guest.output = output::make_plug(std::move(plug));
  // Now, off the guard's main thread: the kernel may load modules for it. No packet is led anywhere yet, and
  // what the kernel lacks is told before the other host is asked for anything.
  if (const Status made = guest.output->attach(); !made) return std::unexpected(made.error());
  const auto directory = disk_directory(spec);
  if (!directory) return std::unexpected(directory.error());
  auto disks = domain->replicated_disks(*directory);
  if (!disks) return std::unexpected(disks.error());
  guest.disks = std::move(*disks);
  guest.handle = {{"domain", domain->name()}, {"domid", domain->domid()}};
  const auto fate = std::make_shared<DomainFate>(std::move(*probe), domain->domid(), sight->uuid);
  guest.exists = [fate] { return fate->exists(); };
  // Whoever of the two looked while it was shut down, and not yet destroyed.
  guest.shut_down_in_order = [fate, domain = domain.get()] {
    return fate->shut_down() || domain->shut_down_in_order();
  };
  guest.doom = [domain = domain.get()]() -> std::string {
    return domain->device_model_dead() ? "its device model (QEMU) has died" : "";
  };
  guest.on_signs_of_end = [domain = domain.get()](std::function<void()> look) {
    domain->on_ends(std::move(look));
  };
  guest.domain = std::move(domain);
  return guest;
}

Status rescue_xen_guest(const GuardSpec& spec) {
  // First let packets pass, then let the guest run; the one is done whatever becomes of the other.
  const Status passing = output::clear_plugs(spec.guest);
  const Status running = xen::rescue_xen(spec.guest);
  return running ? passing : running;
}

Result<std::unique_ptr<hypervisor::Standby>> make_xen_standby(const GuardSpec& spec, const Places& disks) {
  if (!xen::on_xen_host())
    return fail(
        Errc::incompatible,
        fmt::format("guest '{}' is a Xen domain, and host '{}' does not run Xen", spec.guest, spec.host),
        "protect it to a host that runs Xen");
  return xen::make_xen_standby({.name = spec.guest,
                                .runtime_dir = spec.dirs.run / "standby",
                                .bridges = spec.options.bridges,
                                .replicas = disks,
                                .program = {}});
}

#else

Result<ProtectedGuest> attach_xen_guest(const GuardSpec& /*spec*/) {
  return unknown("xen");
}
Status rescue_xen_guest(const GuardSpec& /*spec*/) {
  return unknown("xen");
}
Result<std::unique_ptr<hypervisor::Standby>> make_xen_standby(const GuardSpec& /*spec*/,
                                                              const Places& /*disks*/) {
  return unknown("xen");
}

#endif

}  // namespace

Result<ProtectedGuest> attach_guest(const GuardSpec& spec) {
  if (spec.hypervisor == "qemu") return attach_qemu_guest(spec);
  if (spec.hypervisor == "xen") return attach_xen_guest(spec);
  return unknown(spec.hypervisor);
}

Status rescue_guest(const GuardSpec& spec) {
  if (spec.hypervisor == "qemu") return qemu::rescue_qemu(spec.qmp);
  if (spec.hypervisor == "xen") return rescue_xen_guest(spec);
  return unknown(spec.hypervisor);
}

Result<std::unique_ptr<hypervisor::Standby>> make_standby(const GuardSpec& spec, const Places& disks) {
  if (spec.description && spec.description->hypervisor != spec.hypervisor)
    return fail(Errc::invalid, fmt::format("guest '{}' is a guest of {}, not of {}", spec.guest,
                                           spec.description->hypervisor, spec.hypervisor));
  if (spec.hypervisor == "qemu") return make_qemu_standby(spec, disks);
  if (spec.hypervisor == "xen") return make_xen_standby(spec, disks);
  return unknown(spec.hypervisor);
}

}  // namespace remus::guard
