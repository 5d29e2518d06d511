#include "hypervisor/xen/ioreq_servers.hpp"

#include <spdlog/spdlog.h>
#include <xen/hvm/ioreq.h>
#include <xen/memory.h>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace remus::hypervisor::xen {

namespace {
constexpr ioservid_t servers_max = 8;  // Xen's bound on device models of a domain
}

void IoreqServers::open() {
  if (visible()) return;
  for (ioservid_t id = 0; id < servers_max; ++id) {
    void* pages = nullptr;
    auto* resource = xenforeignmemory_map_resource(
        handles_->memory(), static_cast<domid_t>(domid_), XENMEM_resource_ioreq_server, id,
        XENMEM_resource_ioreq_server_frame_bufioreq, 2, &pages, PROT_READ, 0);
    if (resource != nullptr) servers_.push_back({id, resource, pages});
  }
  if (!visible()) spdlog::info("domain {}: the device model's requests cannot be seen", domid_);
  static_cast<void>(handles_->log().take_last_error());  // of those that are not there
}

void IoreqServers::close() {
  for (const Server& each : servers_)
    static_cast<void>(xenforeignmemory_unmap_resource(handles_->memory(), each.resource));
  servers_.clear();
}

bool IoreqServers::in_hand() const {
  for (const Server& each : servers_) {
    const auto* buffered = static_cast<const volatile buffered_iopage*>(each.pages);
    if (buffered->read_pointer != buffered->write_pointer) return true;
    const auto* page =
        reinterpret_cast<const shared_iopage*>(static_cast<const std::byte*>(each.pages) + XC_PAGE_SIZE);
    for (unsigned vcpu = 0; vcpu < std::min<std::size_t>(vcpus_, XC_PAGE_SIZE / sizeof(ioreq)); ++vcpu) {
      const volatile ioreq& request = page->vcpu_ioreq[vcpu];
      if (request.state != STATE_IOREQ_NONE) return true;
    }
  }
  return false;
}

std::function<bool()> IoreqServers::enabler() const {
  if (servers_.size() != 1) return [] { return false; };
  return [handles = handles_, domid = static_cast<domid_t>(domid_), id = servers_.front().id] {
    return xendevicemodel_set_ioreq_server_state(handles->devices(), domid, id, 1) == 0;
  };
}

}  // namespace remus::hypervisor::xen
