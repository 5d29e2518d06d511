// Lets us read a running guest's disk: QEMU itself serves it, read-only, over NBD.
//
// Its image cannot be read past QEMU (what qcow2 keeps in QEMU's memory is not in the file yet), and need not be a file
// at all. QEMU has one NBD server for all exports of a guest: it listens at a socket that we make and hand over, so that
// no path, user or confinement of QEMU's matters.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "hypervisor/qemu/guest_facts.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace remus::hypervisor::qemu {

/// Whether QEMU can serve this disk: older ones, at least 7.2, die when a client leaves an export that an I/O thread serves (their NBD
/// server then counts its clients in that thread, and asserts that it does not).
[[nodiscard]] inline bool can_export(const Disk& disk, const Version& version) noexcept {
  return !disk.threaded || version.at_least(9);
}

class DiskExport final {
 public:
  /// `directory`: the guard's own, for the socket.
  DiskExport(std::shared_ptr<Qmp> qmp, const std::filesystem::path& directory);
  ~DiskExport();
  DiskExport(const DiskExport&) = delete;
  DiskExport& operator=(const DiskExport&) = delete;

  /// Serves the disk under the name of its node, with its block status, and a bitmap of it that is not recording (if one is
  /// named). The first disk starts QEMU's server. Errors:
  /// refused (the guest's user has an NBD server running in this QEMU: there can be but one), those of Qmp.
  Status add(const Disk& disk, const std::string& bitmap = {});
  /// Ends the exports and the server; connections are cut. Idempotent.
  Status remove();

  [[nodiscard]] const std::filesystem::path& socket() const noexcept { return socket_; }

 private:
  Status start_server();

  std::shared_ptr<Qmp> qmp_;
  std::filesystem::path socket_;
  bool serving_{};
  std::vector<std::string> exports_{};
};

/// Ends exports that a dead predecessor left, and the server it had started for them.
Status remove_exports(Qmp& qmp);

}  // namespace remus::hypervisor::qemu
