// The waiting domain on the backup.
//
// Xen's own restore does the work. A program of ours (remus-xen-standby, a child of the guard) runs stock
// libxl_domain_create_restore on a stream that we write and, for as long as the standby waits, do not finish:
//
//   build()     headers, static records             libxl makes the domain NAME--incoming, paused
//   prepare()   PAGE_DATA that only allocates       Xen gives it all its memory; we map that memory:
//               guard ──mmap── memory of NAME--incoming       committed pages go straight into it
//   activate()  PV: page tables, typed; then        the restore ends on its stock path: vCPUs, device model,
//               records, END                        disks, vifs, console; renamed to NAME, and unpaused
//
// So there is no second copy of the memory, activation takes the same time whatever its size, and what comes
// out is an ordinary domain of xl. The child stays with it and does what xl's own daemon does: it acts on the
// domain's shutdown, reboot or crash as its configuration says.
//
// A guard that dies before activate() leaves an unfinished stream: the restore fails and libxl destroys the
// domain. What is left in spite of that is named in a record file, and cleared by the next guard.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "hypervisor/standby.hpp"

namespace remus::hypervisor::xen {

struct XenStandbyOptions {
  std::string name{};                               ///< the domain's name, the same on both hosts
  std::filesystem::path runtime_dir{"/run/remus"};  ///< record, configuration and log go to runtime_dir/name
  std::map<std::string, std::string> bridges{};     ///< primary's bridge → ours; absent: same name
  std::map<std::string, ReplicaPlace> replicas{};   ///< virtual device → where its replica is on this host
  std::filesystem::path program{};                  ///< remus-xen-standby; empty: beside the running program
};

/// Errors: not_found (no remus-xen-standby), refused (the domain runs on this host already).
Result<std::unique_ptr<Standby>> make_xen_standby(XenStandbyOptions options);

/// What a dead guard may have left behind.
struct XenStandbyLeftover {
  bool running{};    ///< its domain exists
  bool activated{};  ///< and is the guest: it must not be discarded
  std::uint32_t domid{};
  pid_t pid{};  ///< of its remus-xen-standby; 0 if that is gone
};
/// Looks for the leftover of an earlier guard of this domain. not_found if there is none.
Result<XenStandbyLeftover> find_xen_standby(const XenStandbyOptions& options);
/// Discards a leftover that was not activated: process, domain, record. Idempotent; refuses an activated one.
Status discard_xen_standby(const XenStandbyOptions& options);

}  // namespace remus::hypervisor::xen
