#include "hypervisor/qemu/inspect.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <sstream>

#include "hypervisor/qemu/command_line.hpp"
#include "hypervisor/qemu/option_list.hpp"
#include "hypervisor/qemu/process_info.hpp"

namespace remus::hypervisor::qemu {

using json = nlohmann::json;

namespace {

/// Reads one fact of QEMU's answers; a surprise in their shape is an error, not an exception.
class Inspector final {
 public:
  explicit Inspector(Qmp& qmp) noexcept : qmp_{qmp} {}

  Result<GuestFacts> run() {
    facts_.version = qmp_.version();
    facts_.pid = qmp_.peer_pid();
    try {
      for (const auto step :
           {&Inspector::state, &Inspector::machine, &Inspector::memory, &Inspector::disks,
            &Inspector::devices, &Inspector::vhost, &Inspector::network, &Inspector::process})
        if (auto done = (this->*step)(); !done) return std::unexpected(done.error());
    } catch (const json::exception& error) {
      return fail(Errc::corrupt, fmt::format("QEMU answered in an unknown form: {}", error.what()));
    }
    return std::move(facts_);
  }

 private:
  Status state() {
    auto status = qmp_.execute("query-status");
    if (!status) return std::unexpected(status.error());
    facts_.status = status->at("status").get<std::string>();
    auto migration = qmp_.execute("query-migrate");
    if (!migration) return std::unexpected(migration.error());
    facts_.migration = migration->value("status", "");
    if (const auto blocked = migration->find("blocked-reasons"); blocked != migration->end())
      facts_.migration_blockers = blocked->get<std::vector<std::string>>();
    auto capabilities = qmp_.execute("query-migrate-capabilities");
    if (!capabilities) return std::unexpected(capabilities.error());
    for (const json& entry : *capabilities)
      facts_.capabilities.push_back(entry.at("capability").get<std::string>());
    return {};
  }

  Status machine() {
    auto type = qmp_.execute("qom-get", {{"path", "/machine"}, {"property", "type"}});
    if (!type) return std::unexpected(type.error());
    facts_.machine = type->get<std::string>();
    if (constexpr std::string_view suffix = "-machine"; facts_.machine.ends_with(suffix))
      facts_.machine.resize(facts_.machine.size() - suffix.size());
    if (auto kvm = qmp_.execute("query-kvm")) facts_.kvm = kvm->at("enabled").get<bool>();
    return {};
  }

  Status memory() {
    auto summary = qmp_.execute("query-memory-size-summary");
    if (!summary) return std::unexpected(summary.error());
    facts_.memory_bytes = summary->at("base-memory").get<std::uint64_t>();
    facts_.hotplugged_bytes = summary->value("plugged-memory", std::uint64_t{0});
    auto backends = qmp_.execute("query-memdev");
    if (!backends) return std::unexpected(backends.error());
    auto blocks = qmp_.human("info ramblock");
    if (!blocks) return std::unexpected(blocks.error());
    const auto names = parse_info_ramblock(*blocks);
    for (const json& entry : *backends) {
      MemoryBackend backend{entry.at("id").get<std::string>(), "", entry.at("size").get<std::uint64_t>(), 0};
      const std::string canonical = "/objects/" + backend.id;
      if (std::ranges::find(names, canonical) != names.end()) {
        backend.ramblock = canonical;
      } else if (std::ranges::find(names, backend.id) != names.end()) {
        backend.ramblock = backend.id;
      } else {
        continue;  // a backend that is no memory of the machine
      }
      facts_.memory.push_back(std::move(backend));
    }
    return {};
  }

  Status disks() { return inspect_disks(qmp_, facts_); }

  Status devices() {
    for (const char* place : {"/machine/peripheral", "/machine/peripheral-anon"}) {
      auto list = qmp_.execute("qom-list", {{"path", place}});
      if (!list) return std::unexpected(list.error());
      for (const json& entry : *list) {
        std::string type = entry.at("type").get<std::string>();
        if (!type.starts_with("child<")) continue;
        type = type.substr(6, type.size() - 7);
        const std::string name = entry.at("name").get<std::string>();
        const bool anonymous = std::string_view{place}.ends_with("anon");
        facts_.devices.push_back({anonymous ? "" : name, std::move(type), fmt::format("{}/{}", place, name)});
      }
    }
    return {};
  }

  Status vhost() {
    auto list = qmp_.execute("x-query-virtio");
    if (!list) return {};  // older than 7.2: the command line has to tell
    for (const json& entry : *list) {
      auto status = qmp_.execute("x-query-virtio-status", {{"path", entry.at("path")}});
      if (status && status->contains("vhost-dev")) {
        // Not the inner "virtio-backend" but the device around it: that is the name a user knows.
        const auto path = entry.at("path").get<std::string>();
        facts_.vhost_devices.push_back(path.substr(0, path.rfind('/')));
      }
    }
    return {};
  }

  Status network() {
    auto text = qmp_.human("info network");
    if (!text) return std::unexpected(text.error());
    facts_.netdevs = parse_info_network(*text);
    return {};
  }

  Status process() {
    auto found = read_process(facts_.pid);
    if (!found)
      return std::unexpected(Error{
          found.error().kind,
          fmt::format("cannot look at the process behind {}: {}", qmp_.path().native(), found.error().what),
          "run as root on the guest's host"});
    facts_.argv = std::move(found->argv);
    facts_.binary = std::move(found->binary);
    facts_.directory = std::move(found->directory);
    facts_.tcg_shim = maps_library(facts_.pid, "libremus_tcg_shim");
    place_memory(facts_);
    for (auto& net : facts_.netdevs) {
      if (net.type != "tap") continue;
      if (net.ifname.empty()) net.ifname = tap_of(net.id);
      net.bridge = bridge_of(net.ifname);
    }
    return {};
  }

  /// A tap given as an open file: its fd number is on the command line, or it is the only tap there is.
  std::string tap_of(const std::string& id) const {
    for (const Option& option : split_argv(facts_.argv)) {
      if (option.name != "netdev") continue;
      const OptionList list = OptionList::parse(option.value, "type");
      if (list.get_or("id", "") == id)
        if (const auto fd = list.get("fd")) return tap_name_of_fd(facts_.pid, *fd);
    }
    const auto taps = taps_of_process(facts_.pid);
    return taps.size() == 1 ? taps.front() : "";
  }

  Qmp& qmp_;
  GuestFacts facts_{};
};

}  // namespace

bool is_plain(const Disk& disk, const json& nodes) {
  if (!disk.file.starts_with('/') || disk.driver != "raw") return false;
  return std::ranges::all_of(nodes, [&](const json& node) {
    const auto driver = node.value("drv", "");
    return node.value("file", "") != disk.file || driver == "raw" || driver == "file" ||
           driver == "host_device";
  });
}

Status inspect_disks(Qmp& qmp, GuestFacts& facts) try {
  auto blocks = qmp.execute("query-block");
  if (!blocks) return std::unexpected(blocks.error());
  facts.disks = parse_query_block(*blocks);
  auto jobs = qmp.execute("query-jobs");
  if (!jobs) return std::unexpected(jobs.error());
  for (const json& entry : *jobs)
    facts.jobs.push_back({entry.at("id").get<std::string>(), entry.at("type").get<std::string>()});
  auto nodes = qmp.execute("query-named-block-nodes", {{"flat", true}});
  if (!nodes) return std::unexpected(nodes.error());
  auto threads = qmp.execute("query-iothreads");
  if (!threads) return std::unexpected(threads.error());
  for (Disk& disk : facts.disks) {
    disk.plain = is_plain(disk, *nodes);
    disk.threaded = !threads->empty();
  }
  if (auto exports = qmp.execute("query-block-exports"))  // older than 5.2: none there
    for (const json& entry : *exports)
      facts.exports.push_back({entry.at("id").get<std::string>(), entry.at("type").get<std::string>(),
                               entry.at("node-name").get<std::string>()});
  return {};
} catch (const json::exception& error) {
  return fail(Errc::corrupt, fmt::format("QEMU tells something unknown of its disks: {}", error.what()));
}

std::vector<Disk> parse_query_block(const json& answer) {
  std::vector<Disk> out;
  for (const json& entry : answer) {
    Disk disk{.device = entry.value("device", ""), .read_only = true};
    // "/machine/peripheral/vd0/virtio-backend", or just "vd0": what the user called the device.
    const std::string qdev = entry.value("qdev", "");
    std::string_view id{qdev};
    if (constexpr std::string_view place = "/machine/peripheral/"; id.starts_with(place))
      id.remove_prefix(place.size());
    if (constexpr std::string_view part = "/virtio-backend"; id.ends_with(part))
      id.remove_suffix(part.size());
    if (!id.starts_with('/')) disk.id = id;
    disk.removable = entry.value("removable", false);
    if (const auto medium = entry.find("inserted"); medium != entry.end()) {
      disk.file = medium->value("file", "");
      disk.read_only = medium->at("ro").get<bool>();
      disk.node = medium->value("node-name", "");
      disk.driver = medium->value("drv", "");
      disk.bytes = medium->at("image").value("virtual-size", std::uint64_t{0});
      disk.encrypted = medium->value("encrypted", false);
    }
    if (disk.device.empty()) disk.device = disk.id;
    if (disk.device.empty()) disk.device = disk.node;
    if (disk.device.empty()) disk.device = qdev;
    out.push_back(std::move(disk));
  }
  return out;
}

std::vector<NetDevice> parse_info_network(std::string_view text) {
  std::vector<NetDevice> out;
  std::istringstream lines{std::string{text}};
  for (std::string line; std::getline(lines, line);) {
    // " \ n0: index=0,type=tap,ifname=tap0,script=no"; a line of its own for what has no peer.
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    const auto colon = line.find(": ");
    if (colon == std::string::npos || line.starts_with("  -")) continue;
    std::string_view name{line.data(), colon};
    while (!name.empty() && (name.front() == ' ' || name.front() == '\\')) name.remove_prefix(1);
    const OptionList list = OptionList::parse(std::string_view{line}.substr(colon + 2), "");
    const std::string type = list.get_or("type", "");
    if (type.empty() || type == "nic") continue;
    out.push_back({std::string{name}, type, list.get_or("ifname", ""), ""});
  }
  return out;
}

std::vector<std::string> parse_info_ramblock(std::string_view text) {
  std::vector<std::string> out;
  std::istringstream lines{std::string{text}};
  std::string line;
  std::getline(lines, line);  // the headline
  while (std::getline(lines, line)) {
    std::istringstream words{line};
    std::string name;
    std::string size;
    std::string unit;
    if (words >> name >> size >> unit) out.push_back(std::move(name));
  }
  return out;
}

void place_memory(GuestFacts& facts) {
  std::map<std::string, int> nodes;
  int next = 0;
  for (const Option& option : split_argv(facts.argv)) {
    if (option.name != "numa") continue;
    const OptionList list = OptionList::parse(option.value, "type");
    if (list.get_or("type", "") != "node") continue;
    int node = next;
    if (const auto given = list.get("nodeid"))
      std::from_chars(given->data(), given->data() + given->size(), node);
    next = node + 1;
    if (const auto backend = list.get("memdev")) nodes[*backend] = node;
  }
  std::ranges::sort(facts.memory, {}, [&](const MemoryBackend& backend) {
    const auto node = nodes.find(backend.id);
    return std::pair{node == nodes.end() ? -1 : node->second, backend.id};
  });
  std::uint64_t address = 0;
  for (auto& backend : facts.memory) {
    backend.address = address;
    address += backend.bytes;
  }
}

Result<GuestFacts> inspect(Qmp& qmp) {
  return Inspector{qmp}.run();
}

}  // namespace remus::hypervisor::qemu
