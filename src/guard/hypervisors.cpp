#include "guard/hypervisors.hpp"

#include <fmt/format.h>

#include <atomic>
#include <utility>

#include "hypervisor/qemu/domain.hpp"
#include "hypervisor/qemu/qmp.hpp"
#include "hypervisor/qemu/standby.hpp"
#include "output/redirector.hpp"

namespace remus::guard {

namespace qemu = hypervisor::qemu;

namespace {

std::unexpected<Error> unknown(const std::string& hypervisor) {
  return fail(Errc::unsupported, fmt::format("hypervisor '{}' is not known to this build", hypervisor));
}

qemu::StandbyOptions standby_options(const GuardSpec& spec) {
  return {.name = spec.guest,
          .image_root = spec.dirs.image,
          .runtime_dir = spec.dirs.run / "standby",
          .binary = {},
          .bridges = spec.options.bridges,
          .taps = {},
          .environment = {}};
}

}  // namespace

Result<ProtectedGuest> attach_guest(const GuardSpec& spec) {
  if (spec.hypervisor != "qemu") return unknown(spec.hypervisor);
  auto qmp = qemu::Qmp::connect(spec.qmp);
  if (!qmp) return std::unexpected(qmp.error());
  auto domain = qemu::attach_qemu(*qmp, {});
  if (!domain) return std::unexpected(domain.error());
  auto redirector = output::make_redirector(
      *qmp, {.netdevs = (*domain)->netdevs(), .hold_bytes_max = spec.options.output_buffer_bytes});
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
  guest.domain = std::move(*domain);
  guest.output = std::move(redirector);
  return guest;
}

Status rescue_guest(const GuardSpec& spec) {
  if (spec.hypervisor != "qemu") return unknown(spec.hypervisor);
  return qemu::rescue_qemu(spec.qmp);
}

Result<std::unique_ptr<hypervisor::Standby>> make_standby(const GuardSpec& spec) {
  if (spec.hypervisor != "qemu") return unknown(spec.hypervisor);
  const auto options = standby_options(spec);
  if (const auto left = qemu::find_standby(options); left && left->running && left->activated)
    return fail(Errc::refused,
                fmt::format("guest '{}' runs on this host already (process {}, activated by an earlier failover)",
                            spec.guest, left->pid),
                "protect it from here, or shut it down first");
  return qemu::make_qemu_standby(options);
}

}  // namespace remus::guard
