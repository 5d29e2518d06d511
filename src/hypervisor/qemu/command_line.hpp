// The standby's command line, derived from that of the running guest.
//
// The waiting QEMU must have exactly the devices of the primary's, and nothing else of it: its own sockets,
// memory in shared files, taps of this host, no window, no daemonizing. So every option is kept unless there
// is a reason to change it; docs/qemu.md lists the rules. A pure function, so that odd command lines can be
// tested by the dozen.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "hypervisor/qemu/guest_facts.hpp"
#include "hypervisor/standby.hpp"

namespace remus::hypervisor::qemu {

struct StandbyPaths {
  std::filesystem::path image_dir{};  ///< holds one file per memory backend
  std::filesystem::path runtime_dir{};
  std::filesystem::path qmp{};                ///< the standby's QMP socket
  std::map<std::string, std::string> taps{};  ///< netdev id → interface on this host

  std::map<std::string, ReplicaPlace> replicas{};  ///< Disk::device → what stands for it here
};

/// A file the guest's QEMU opens by name: it must exist on the backup, too.
struct NeededFile {
  std::string path{};
  std::string what{};  ///< the option that names it
  bool operator==(const NeededFile&) const = default;
};

struct DerivedCommandLine {
  std::vector<std::string> arguments{};   ///< without the program's name
  std::vector<NeededFile> files{};        ///< absolute
  std::vector<std::string> notes{};       ///< what differs, for a person: "serial console goes nowhere"
  std::vector<std::string> objections{};  ///< why no standby can be built from it; empty if one can
};

[[nodiscard]] DerivedCommandLine derive_command_line(const GuestFacts& facts, const StandbyPaths& paths);

/// File in image_dir that holds a backend's memory.
[[nodiscard]] std::string image_file_name(const std::string& backend_id);

/// Splits an argv (with the program's name) into options and their arguments; bare words get the name "".
struct Option {
  std::string name{};   ///< without dashes
  std::string value{};  ///< "" if the option takes none
  bool has_value{};
};
[[nodiscard]] std::vector<Option> split_argv(const std::vector<std::string>& argv);

}  // namespace remus::hypervisor::qemu
