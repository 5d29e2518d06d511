// What is known of a running domain before it is protected, and what speaks against that. No Xen headers: the
// rules are tested without Xen.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hypervisor/xen/domain.hpp"

namespace remus::hypervisor::xen {

enum class Kind { pv, pvh, hvm };
[[nodiscard]] std::string_view to_string(Kind kind) noexcept;

struct Disk {
  std::string device{};  ///< "hda", "xvda"
  std::string target{};
  bool writable{};
  std::string format{};   ///< "raw", "qcow2", ...
  std::string backend{};  ///< "qdisk" (a QEMU in dom0), "phy" (the kernel of dom0), "tap"
  bool
      connected{};  ///< by the guest's PV driver; else an HVM guest uses the device model's emulated disk, if any
};

struct DomainFacts {
  std::uint32_t domid{};
  std::string name{};
  std::string uuid{};
  Kind kind{Kind::pv};
  int xen_major{};
  int xen_minor{};
  std::string config{};  ///< libxl's JSON
  unsigned vcpus{};
  unsigned pv_width_bytes{};  ///< 8 or 4; PV only
  std::uint64_t pages{};
  std::vector<Vif> vifs{};
  std::vector<Disk> disks{};
  unsigned passthrough_devices{};
  std::vector<std::string>
      other_devices{};      ///< stateful devices whose backends we do not replicate, in words
  bool cooperative{};       ///< has PV drivers, which must suspend themselves
  bool video{};             ///< a device model with a screen
  bool stub_domain{};       ///< its device model runs in a domain of its own
  bool restricted_model{};  ///< its device model may open no files
  bool moving{};            ///< being saved, migrated or restored
  bool paused{};
  bool shut_down{};
  bool dying{};
  std::uint64_t populate_on_demand_pages{};
  std::uint64_t target_kib{};  ///< 0 where unknown
  std::uint64_t maximum_kib{};

  [[nodiscard]] bool device_model() const noexcept { return kind == Kind::hvm; }
  /// A QEMU without which it cannot go on: its device model, or one that serves its disks.
  [[nodiscard]] bool needs_qemu() const noexcept {
    return device_model() || std::ranges::find(disks, "qdisk", &Disk::backend) != disks.end();
  }
};

/// Every reason why this domain cannot be protected, each a sentence; empty if it can. Pure.
[[nodiscard]] std::vector<std::string> objections(const DomainFacts& facts, const XenAttachOptions& options);

}  // namespace remus::hypervisor::xen
