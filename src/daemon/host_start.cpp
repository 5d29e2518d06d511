// Finding guards again: the daemon was restarted, crashed, or updated; the guards never noticed.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <fstream>
#include <utility>

#include "base/files.hpp"
#include "daemon/host.hpp"
#include "hypervisor/xen/presence.hpp"

namespace remus::daemon {

Host::Host(boost::asio::io_context& io, Config config)
    : io_{io},
      config_{std::move(config)},
      registry_{config_.dirs.state},
      peers_{io, config_, registry_},
      wishes_{config_.dirs.run / "heeded-wishes.json"} {}

Host::~Host() {
  for (const auto& [name, guest] : guests_)
    if (guest->guard) guest->guard->close();
}

Status Host::start() {
  for (const auto& [directory, mode] :
       {std::pair{config_.dirs.run, mode_t{0755}}, std::pair{config_.dirs.run / "guards", mode_t{0700}},
        std::pair{config_.dirs.image, mode_t{0700}}})
    if (auto status = make_directory(directory, mode); !status) return status;
  if (auto status = peers_.load(); !status) return status;
  std::vector<Error> problems;
  auto registrations = registry_.load(problems);
  if (!registrations) return std::unexpected(registrations.error());
  for (const auto& problem : problems) events_.add("", "error", problem.text());
  for (auto& registration : *registrations)
    if (auto status = adopt(std::move(registration)); !status) return status;
  daemon::start(io_, tend_all());
  daemon::start(io_, settle_events());
  if (hypervisor::xen::on_xen_host()) daemon::start(io_, heed_wishes());
  return {};
}

Status Host::adopt(Registration registration) {
  auto guest = std::make_shared<Guest>();
  const std::string name = registration.guest;
  guest->registration = std::move(registration);
  guest->registered = true;
  guests_[name] = guest;
  const auto record = record_of(name);
  guest->superseded = record.superseded_by != 0;
  if (guest->registration.role != Role::backup) {
    watch_guest(*guest, guest->registration.guest_pid, guest->registration.guest_start_ticks);
    watch_domain(*guest, guest->registration.guest_domid, guest->registration.guest_uuid);
  }
  adopt_guard(*guest);
  events_.add(name, "daemon",
              fmt::format("{} of {} found again: guard {}", to_string(guest->registration.role),
                          guest->registration.peer, guest->guard ? "runs" : "does not run"));
  return {};
}

void Host::adopt_guard(Guest& guest) {
  const auto& name = guest.registration.guest;
  // An owner's guard is the backup's guard that activated the guest.
  const auto side = side_of(guest);
  auto file = guard::spec_file(config_.dirs.run, name, side);
  file.replace_extension(".pid");
  std::ifstream in{file};
  pid_t pid{};
  std::uint64_t ticks{};
  pid_t inner{};
  std::uint64_t inner_ticks{};
  if (!(in >> pid >> ticks)) return;
  in >> inner >> inner_ticks;
  auto handle = open_guard(name, side, pid, ticks);
  // The keeper may have been killed while the guard lives on.
  if (!handle && inner != 0) handle = open_guard(name, side, inner, inner_ticks);
  if (!handle) return;
  guest.guard = std::move(*handle);
  guest.guard->run();
}

}  // namespace remus::daemon
