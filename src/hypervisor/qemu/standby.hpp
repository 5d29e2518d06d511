// The waiting QEMU on the backup.
//
// A second QEMU of the same version is started ahead, with its RAM in shared-memory files that our process
// maps too: committed pages are written straight into its memory. It waits in `-incoming`; to activate it we
// feed it the device state only, so activation takes the same few milliseconds whatever the guest's size.
//
//   image files /dev/shm/remus/web1/<block> ──mmap── backup guard (writes committed pages)
//                         └───────────────────mmap── qemu -incoming defer (waits)
//
// The waiting QEMU runs in a session of its own and survives the guard. A fresh guard's prepare() finds what
// a dead one left (record file with pid and start time) and discards it first, unless it was activated: then
// prepare() refuses.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hypervisor/domain.hpp"
#include "hypervisor/qemu/command_line.hpp"
#include "hypervisor/standby.hpp"

namespace remus::hypervisor::qemu {

struct StandbyOptions {
  std::string name{};                                  ///< the guest's name: names directories
  std::filesystem::path image_root{"/dev/shm/remus"};  ///< images go to image_root/name
  std::filesystem::path runtime_dir{"/run/remus"};     ///< sockets, record and log go to runtime_dir/name
  std::filesystem::path binary{};                      ///< empty: same path as on the primary, else from PATH
  std::map<std::string, std::string> bridges{};        ///< primary's bridge → ours; absent: same name
  std::map<std::string, std::string> taps{};  ///< netdev id → tap name; absent: derived from the name
  /// One of a disk's names → its replica, as long as the disk; it is opened when the standby is made, and neither read nor
  /// written by it before it is activated.
  std::map<std::string, ReplicaPlace> replicas{};
  std::vector<std::string> environment{};  ///< extra KEY=VALUE for the waiting QEMU
};

std::unique_ptr<Standby> make_qemu_standby(StandbyOptions options);

/// What a dead guard may have left behind.
struct StandbyLeftover {
  bool running{};    ///< its QEMU process exists
  bool activated{};  ///< and runs the guest: it must not be discarded
  pid_t pid{};
  std::filesystem::path qmp{};
};
/// Looks for the leftover of an earlier guard of this guest. not_found if there is none.
Result<StandbyLeftover> find_standby(const StandbyOptions& options);
/// Discards a leftover that was not activated: process, image, taps, sockets. Idempotent; refuses an
/// activated one.
Status discard_standby(const StandbyOptions& options);

}  // namespace remus::hypervisor::qemu
