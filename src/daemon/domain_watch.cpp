#include "daemon/domain_watch.hpp"

#include <fmt/format.h>

#include <utility>

namespace remus::daemon {

using hypervisor::xen::DomainLife;

Result<std::unique_ptr<DomainWatch>> DomainWatch::open(std::uint32_t domid, const std::string& uuid) {
  auto probe = Probe::open();
  if (!probe) return std::unexpected(probe.error());
  const auto sight = (*probe)->look(domid);
  if (!sight) return std::unexpected(sight.error());
  if (sight->life != DomainLife::lives || (!uuid.empty() && sight->uuid != uuid))
    return fail(Errc::not_found, fmt::format("domain {} has ended", domid));
  return std::unique_ptr<DomainWatch>{new DomainWatch{std::move(*probe), domid, sight->uuid}};
}

DomainWatch::DomainWatch(std::shared_ptr<Probe> probe, std::uint32_t domid, std::string uuid)
    : probe_{std::move(probe)}, domid_{domid}, uuid_{std::move(uuid)} {}

bool DomainWatch::alive() const {
  const auto sight = probe_->look(domid_);
  return !sight || (sight->life == DomainLife::lives && sight->uuid == uuid_);
}

bool DomainWatch::ended_since_last_look() {
  if (told_ || alive()) return false;
  told_ = true;
  return true;
}

}  // namespace remus::daemon
