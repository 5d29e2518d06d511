// What is known about a running guest before anything in it is touched. Plain data, sent to the backup as
// JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace remus::hypervisor::qemu {

/// A RAM backend ("pc.ram", "ram-node0"): what the standby gets as a shared file.
struct MemoryBackend {
  std::string id{};
  std::string ramblock{};  ///< its name in the stream: id, or "/objects/<id>" on old machine types
  std::uint64_t bytes{};
  std::uint64_t address{};  ///< offset within the machine's memory
};

struct NetDevice {
  std::string id{};
  std::string type{};    ///< "tap", "stream", "user", ...
  std::string ifname{};  ///< of a tap
  std::string bridge{};  ///< which the tap is enslaved to; may be empty
};

/// A place for a disk in the guest, and what is in it.
struct Disk {
  std::string device{};  ///< how a person calls it: `-drive`'s id, else its device's id, else its node's name
  std::string file{};    ///< empty: no medium
  bool read_only{};
  std::string id{};      ///< of the guest's device ("vd0"); may be empty
  std::string node{};    ///< what that device reads and writes, in QEMU's graph of block nodes
  std::string driver{};  ///< of that node: "raw", "qcow2", "throttle", ...
  std::uint64_t bytes{};
  bool removable{};
  bool encrypted{};
  bool plain{};     ///< `file` is the disk, byte for byte
  bool threaded{};  ///< may be served by an I/O thread of QEMU's
};

/// A task of QEMU's own under way: a block job, a snapshot being saved.
struct Job {
  std::string id{};
  std::string type{};  ///< "backup", "mirror", "snapshot-save", ...
};

/// A block node of QEMU's that others can reach (NBD, vhost-user-blk, FUSE).
struct BlockExport {
  std::string id{};
  std::string type{};
  std::string node{};
};

/// A user-created device ("-device" or device_add).
struct Device {
  std::string id{};    ///< "" if it has none
  std::string type{};  ///< "virtio-net-pci"
  std::string path{};  ///< QOM path
};

struct GuestFacts {
  Version version{};
  std::string machine{};    ///< versioned: "pc-i440fx-7.2"
  std::string status{};     ///< query-status: "running"
  std::string migration{};  ///< query-migrate's status: "" if never
  std::vector<std::string> migration_blockers{};
  std::vector<std::string> capabilities{};  ///< migration capabilities this QEMU knows
  bool kvm{};
  bool tcg_shim{};  ///< QEMU was started with the lab's help for TCG (lab/qemu/tcg-shim)
  std::uint64_t memory_bytes{};
  std::uint64_t hotplugged_bytes{};
  std::vector<MemoryBackend> memory{};
  std::vector<NetDevice> netdevs{};
  std::vector<std::string> vhost_devices{};  ///< virtio devices whose packets bypass QEMU
  std::vector<Disk> disks{};
  std::vector<Job> jobs{};
  std::vector<BlockExport> exports{};
  std::vector<Device> devices{};
  pid_t pid{};
  std::string binary{};     ///< what /proc/PID/exe names
  std::string directory{};  ///< its working directory
  std::vector<std::string> argv{};
};

[[nodiscard]] nlohmann::json to_json(const GuestFacts& facts);
/// What the backup needs of them. Errors: corrupt.
[[nodiscard]] Result<GuestFacts> facts_from_json(const nlohmann::json& value);

}  // namespace remus::hypervisor::qemu
