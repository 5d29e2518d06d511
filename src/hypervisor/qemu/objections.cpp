#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "hypervisor/qemu/command_line.hpp"
#include "hypervisor/qemu/inspect.hpp"
#include "hypervisor/qemu/option_list.hpp"

namespace remus::hypervisor::qemu {

namespace {

struct Unprotectable {
  std::string_view type_prefix;
  std::string_view why;
};

constexpr std::array<Unprotectable, 16> unprotectable{{
    {"vfio-", "a device of this host is passed through; its state cannot be captured"},
    {"kvm-pci-assign", "a device of this host is passed through; its state cannot be captured"},
    {"usb-host", "a USB device of this host is passed through"},
    {"usb-redir", "a USB device from elsewhere is passed through"},
    {"scsi-generic", "a disk of this host is passed through"},
    {"scsi-block", "a disk of this host is passed through"},
    {"vhost-user-", "its requests bypass QEMU, so they cannot be held or captured"},
    {"vhost-scsi", "its requests bypass QEMU, so they cannot be held or captured"},
    {"vhost-vsock", "its packets bypass QEMU, so they cannot be held or captured"},
    {"vhost-vdpa", "its requests bypass QEMU, so they cannot be held or captured"},
    {"ivshmem", "its memory is shared with processes outside the guest"},
    {"pc-dimm", "hot-pluggable memory is not supported: give all memory with -m at the start"},
    {"nvdimm", "persistent memory has no replication"},
    {"virtio-mem", "memory that changes size is not supported"},
    {"virtio-pmem", "persistent memory has no replication"},
    {"tpm-", "a TPM's state is kept by another process"},
}};

void state_objections(const GuestFacts& facts, std::vector<std::string>& out) {
  if (facts.status == "inmigrate") {
    out.emplace_back("the guest is itself waiting for an incoming migration");
  } else if (facts.status != "running") {
    out.push_back(
        fmt::format("the guest is not running but '{}': resume it first (QMP: cont)", facts.status));
  }
  static constexpr std::array<std::string_view, 12> under_way{
      "setup",          "active",          "device",          "colo",
      "pre-switchover", "postcopy-active", "postcopy-paused", "postcopy-recover",
      "cancelling",     "wait-unplug",     "postcopy-device", "postcopy-recover-setup"};
  if (std::ranges::find(under_way, facts.migration) != under_way.end())
    out.push_back(fmt::format("a migration of the guest is under way ('{}'): wait for its end, or cancel it",
                              facts.migration));
  for (const auto& blocker : facts.migration_blockers)
    out.push_back(fmt::format("QEMU cannot migrate this guest: {}", blocker));
}

void device_objections(const GuestFacts& facts, std::vector<std::string>& out) {
  for (const Device& device : facts.devices)
    for (const auto& [prefix, why] : unprotectable)
      if (device.type.starts_with(prefix))
        out.push_back(fmt::format("device '{}' ({}): {}", device.id.empty() ? device.path : device.id,
                                  device.type, why));
  for (const auto& device : facts.vhost_devices)
    out.push_back(fmt::format(
        "device '{}' uses vhost: its packets bypass QEMU, so they cannot be held; start the guest "
        "with vhost=off on its netdev",
        device));
}

/// What was plugged in after the start is not on the command line that the standby's is derived from.
void hotplug_objections(const GuestFacts& facts, std::vector<std::string>& out) {
  std::set<std::string> devices;
  std::set<std::string> netdevs;
  std::size_t anonymous = 0;
  for (const Option& option : split_argv(facts.argv)) {
    const OptionList list = OptionList::parse(option.value, option.name == "device" ? "driver" : "type");
    const std::string id = list.get_or("id", "");
    if (option.name == "device") {
      if (id.empty()) ++anonymous;
      devices.insert(id);
    }
    // QEMU makes a device of such a drive by itself.
    if (option.name == "drive" && list.get_or("if", "") == "virtio") ++anonymous;
    if (option.name == "netdev" || option.name == "nic") netdevs.insert(id);
  }
  std::size_t anonymous_now = 0;
  for (const Device& device : facts.devices) {
    if (device.id.empty()) {
      ++anonymous_now;
    } else if (!devices.contains(device.id)) {
      out.push_back(fmt::format(
          "device '{}' ({}) was added after the guest's start, so the standby cannot be given it: "
          "restart the guest with it on its command line, or remove it",
          device.id, device.type));
    }
  }
  if (anonymous_now > anonymous) out.emplace_back("a device without id was added after the guest's start");
  for (const NetDevice& net : facts.netdevs) {
    // QEMU names a -nic without id itself; anything else unknown was added later.
    if (!netdevs.contains(net.id) && !net.id.starts_with("__org.qemu.nic") && net.type != "hubport")
      out.push_back(fmt::format("netdev '{}' ({}) was added after the guest's start", net.id, net.type));
  }
}

void netdev_objections(const GuestFacts& facts, std::vector<std::string>& out) {
  for (const Option& option : split_argv(facts.argv)) {
    if (option.name != "netdev" && option.name != "nic") continue;
    const OptionList list = OptionList::parse(option.value, "type");
    const std::string id = list.get_or("id", "");
    if ((list.is_on("vhost") || list.has("vhostfd") || list.has("vhostfds")) && facts.vhost_devices.empty())
      out.push_back(
          fmt::format("netdev '{}' uses vhost: its packets bypass QEMU, so they cannot be held; start the "
                      "guest with vhost=off",
                      id));
    if (list.get_or("queues", "1") != "1" || list.has("fds"))
      out.push_back(fmt::format(
          "netdev '{}' has several queues, which QEMU's packet filters do not support: use one", id));
  }
  for (const NetDevice& net : facts.netdevs)
    if (net.type == "tap" && net.ifname.empty())
      out.push_back(fmt::format("netdev '{}': the name of its tap interface cannot be found out", net.id));
}

}  // namespace

std::vector<std::string> objections(const GuestFacts& facts, const std::vector<std::string>& disks,
                                    const std::vector<std::string>& elsewhere) {
  std::vector<std::string> out;
  state_objections(facts, out);
  if (std::ranges::find(facts.capabilities, "x-colo") == facts.capabilities.end())
    out.push_back(fmt::format("this QEMU ({}) was built without COLO, which captures the checkpoints",
                              facts.version.text()));
  if (!facts.version.at_least(5, 2))
    out.push_back(fmt::format("QEMU {} is too old: 5.2 is the oldest supported", facts.version.text()));
  if (!facts.kvm && !facts.tcg_shim && !facts.version.at_least(11))
    out.push_back(fmt::format(
        "the guest is emulated (TCG), which QEMU {} cannot checkpoint: it deadlocks and loses dirty "
        "pages; use KVM, or QEMU 11",
        facts.version.text()));
  device_objections(facts, out);
  for (auto& objection : disk_objections(facts, disks, elsewhere)) out.push_back(std::move(objection));
  if (facts.hotplugged_bytes != 0)
    out.emplace_back("memory was plugged into the running guest: not supported");
  if (facts.memory.empty())
    out.emplace_back("the guest's memory is not made of memory backends (machine too old)");
  hotplug_objections(facts, out);
  netdev_objections(facts, out);
  return out;
}

}  // namespace remus::hypervisor::qemu
