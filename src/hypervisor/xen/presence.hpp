// Whether this is a Xen host, and whether a domain is still there.
//
// For those who must know no more: the daemon, which tells other hosts whether a guest lives, and the front end. A
// question to the hypervisor itself, answered in microseconds: neither xenstored nor a toolstack that hangs can make a
// living guest look dead. A library of its own, so that neither links Xen's whole toolstack.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace remus::hypervisor::xen {

/// True in the control domain of a running Xen, in a build that knows Xen.
[[nodiscard]] bool on_xen_host();

enum class DomainLife {
  lives,      ///< it runs, waits, is paused, or has suspended itself for a checkpoint
  shut_down,  ///< it powered off, wants to reboot or has crashed: what follows is its configuration's on_...
  gone,       ///< there is no such domain
};

struct DomainSight {
  DomainLife life{DomainLife::gone};
  std::string uuid{};  ///< tells the domain from a later one of the same number
};

class DomainProbe final {
 public:
  /// Errors: unsupported (this is no Xen host), denied (not root).
  [[nodiscard]] static Result<std::shared_ptr<DomainProbe>> open();
  DomainProbe(const DomainProbe&) = delete;
  DomainProbe& operator=(const DomainProbe&) = delete;
  ~DomainProbe();

  struct Guest {
    std::uint32_t domid{};
    std::string uuid{};
  };
  /// Domains that live, without the control domain.
  [[nodiscard]] Result<std::vector<Guest>> guests() const;
  /// Does not block. Any thread.
  [[nodiscard]] Result<DomainSight> look(std::uint32_t domid) const;

 private:
  struct Impl;
  explicit DomainProbe(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// What this host's hypervisor is and has, for `remus doctor`.
struct XenFacts {
  std::string version{};       ///< "4.17"
  bool shadow{};               ///< shadow paging: PV guests and 32-bit guests without HAP can be followed
  bool hvm{};                  ///< HVM and PVH guests can run
  std::uint64_t free_bytes{};  ///< free for domains
};
[[nodiscard]] Result<XenFacts> xen_facts();

/// The name of a domain, from its number. Asks xenstored, and may wait for it. Errors: not_found.
[[nodiscard]] Result<std::string> domain_name(std::uint32_t domid);

}  // namespace remus::hypervisor::xen
