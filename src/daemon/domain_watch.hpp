// A Xen guest's domain: is it still there? What ProcessWatch is for a QEMU guest's process.
//
// The hypervisor is asked anew each time, and not told of an end: the question costs microseconds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "hypervisor/xen/presence.hpp"

namespace remus::daemon {

class DomainWatch final {
 public:
  /// If `uuid` is not empty, a domain of another one is another domain. Errors: not_found and those of
  /// DomainProbe.
  [[nodiscard]] static Result<std::unique_ptr<DomainWatch>> open(std::uint32_t domid,
                                                                 const std::string& uuid);

  /// The truth of this moment. A hypervisor that does not answer proves nothing: the domain is taken to live.
  [[nodiscard]] bool alive() const;
  [[nodiscard]] std::uint32_t domid() const noexcept { return domid_; }
  [[nodiscard]] const std::string& uuid() const noexcept { return uuid_; }
  /// True once, after the domain has ended.
  [[nodiscard]] bool ended_since_last_look();

 private:
  using Probe = hypervisor::xen::DomainProbe;
  DomainWatch(std::shared_ptr<Probe> probe, std::uint32_t domid, std::string uuid);

  std::shared_ptr<Probe> probe_;
  std::uint32_t domid_;
  std::string uuid_;
  bool told_{false};
};

}  // namespace remus::daemon
