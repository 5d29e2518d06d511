#include "hypervisor/qemu/standby_disks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "hypervisor/qemu/option_list.hpp"

namespace remus::hypervisor::qemu {

namespace {

/// Of -drive and -blockdev: what means the same for any image.
constexpr std::array<std::string_view, 20> kept_of_a_drive{
    "if",     "id",      "index",           "bus",          "unit",
    "media",  "cache",   "cache.writeback", "cache.direct", "cache.no-flush",
    "aio",    "discard", "detect-zeroes",   "werror",       "rerror",
    "serial", "group",   "node-name",       "locking",      "file.locking"};
constexpr std::array<std::string_view, 3> kept_families{"throttling.", "iops", "bps"};
constexpr std::array<std::string_view, 6> kept_of_a_node{"node-name",    "discard",        "detect-zeroes",
                                                         "cache.direct", "cache.no-flush", "force-share"};
/// Keys by which a node names another one beneath it.
constexpr std::array<std::string_view, 3> children{"file", "backing", "data-file"};

bool is_kept_of_a_drive(std::string_view key) {
  return std::ranges::find(kept_of_a_drive, key) != kept_of_a_drive.end() ||
         std::ranges::any_of(kept_families, [&](std::string_view family) { return key.starts_with(family); });
}

class Rewriter final {
 public:
  Rewriter(const GuestFacts& facts, const StandbyPaths& paths, std::vector<std::string>& objections)
      : facts_{facts}, paths_{paths}, objections_{objections} {}

  std::vector<Option> run(std::vector<Option> options) {
    for (Option& option : options) {
      if (option.name == "drive") {
        drive(option);
      } else if (option.name == "blockdev") {
        blockdev(option);
      } else if (option.name.size() == 3 && option.name >= "hda" && option.name <= "hdd") {
        short_drive(option);
      }
    }
    for (const auto& [device, replica] : paths_.replicas)
      if (!done_.contains(device))
        objections_.push_back(fmt::format(
            "disk '{}' is not on the guest's command line in a form that is understood (-drive, -blockdev, "
            "-hda): its replica cannot stand for it",
            device));
    drop_orphans(options);
    return options;
  }

 private:
  /// The replicated disk that this `-drive` makes: by its id, else by the file it names.
  const Disk* disk_of(const OptionList& list, const std::string& file) {
    const std::string id = list.get_or("id", "");
    const Disk* found = nullptr;
    for (const Disk& disk : facts_.disks) {
      if (!paths_.replicas.contains(disk.device)) continue;
      if (!id.empty()) {
        if (disk.device == id) return &disk;
      } else if (!file.empty() && (disk.file == file || absolute(disk.file) == absolute(file))) {
        if (found != nullptr) return nullptr;
        found = &disk;
      }
    }
    return found;
  }

  void drive(Option& option) {
    const OptionList old = OptionList::parse(option.value, "file");
    const std::string nested = old.get_or("file.filename", old.get_or("file.file.filename", ""));
    const Disk* disk = disk_of(old, old.get_or("file", nested));
    if (disk == nullptr) return;
    if (old.is_on("snapshot"))
      objections_.push_back(
          fmt::format("disk '{}' has snapshot=on: its writes are thrown away", disk->device));
    OptionList fresh;
    for (const auto& key : old.keys())
      if (is_kept_of_a_drive(key)) fresh.set(key, old.get_or(key, ""));
    fresh.set("file", replica_of(*disk).path.native());
    fresh.set("format", "raw");
    option.value = fresh.text();
  }

  void short_drive(Option& option) {
    const Disk* disk = disk_of({}, option.value);
    if (disk == nullptr) return;
    OptionList fresh;
    fresh.set("if", "ide");
    fresh.set("index", std::to_string(option.name.back() - 'a'));
    fresh.set("media", "disk");
    fresh.set("file", replica_of(*disk).path.native());
    fresh.set("format", "raw");
    option = {"drive", fresh.text(), true};
  }

  void blockdev(Option& option) {
    const OptionList old = OptionList::parse(option.value, "driver");
    const std::string name = old.get_or("node-name", "");
    const auto disk = std::ranges::find_if(
        facts_.disks, [&](const Disk& d) { return d.node == name && paths_.replicas.contains(d.device); });
    if (name.empty() || disk == facts_.disks.end()) return;
    note_children(old);
    const ReplicaPlace& replica = replica_of(*disk);
    OptionList fresh;
    fresh.set("driver", "raw");
    for (const auto& key : old.keys())
      if (std::ranges::find(kept_of_a_node, key) != kept_of_a_node.end()) fresh.set(key, old.get_or(key, ""));
    keep_cache(old, fresh);
    fresh.set("file.driver", replica.block_device ? "host_device" : "file");
    fresh.set("file.filename", replica.path.native());
    option.value = fresh.text();
  }

  /// In the JSON form the cache mode is an object.
  static void keep_cache(const OptionList& old, OptionList& fresh) {
    const auto mode = nlohmann::json::parse(old.get_or("cache", ""), nullptr, false);
    if (!mode.is_object()) return;
    for (const char* key : {"direct", "no-flush"})
      if (const auto found = mode.find(key); found != mode.end() && found->is_boolean())
        fresh.set(std::string{"cache."} + key, found->get<bool>() ? "on" : "off");
  }

  void note_children(const OptionList& node) {
    for (const std::string_view key : children)
      if (const auto child = node.get(key); child && !child->starts_with('{')) orphans_.insert(*child);
  }

  /// Nodes that only replaced ones stood on would be opened, here, for nothing. A shared one stays.
  void drop_orphans(std::vector<Option>& options) {
    for (bool again = true; again;) {
      again = false;
      std::set<std::string> used;
      for (const Option& option : options) {
        const OptionList list = OptionList::parse(option.value, "driver");
        if (option.name == "blockdev")
          for (const std::string_view key : children) used.insert(list.get_or(key, ""));
        if (option.name == "device") used.insert(list.get_or("drive", ""));
      }
      std::erase_if(options, [&](const Option& option) {
        if (option.name != "blockdev") return false;
        const OptionList list = OptionList::parse(option.value, "driver");
        const std::string name = list.get_or("node-name", "");
        if (!orphans_.contains(name) || used.contains(name)) return false;
        note_children(list);
        return again = true;
      });
    }
  }

  const ReplicaPlace& replica_of(const Disk& disk) {
    if (!done_.insert(disk.device).second)
      objections_.push_back(fmt::format("disk '{}' is on the guest's command line twice", disk.device));
    return paths_.replicas.at(disk.device);
  }

  [[nodiscard]] std::string absolute(const std::string& path) const {
    return (std::filesystem::path{facts_.directory} / path).lexically_normal().native();
  }

  const GuestFacts& facts_;
  const StandbyPaths& paths_;
  std::vector<std::string>& objections_;
  std::set<std::string> done_{};
  std::set<std::string> orphans_{};
};

}  // namespace

std::vector<Option> with_replicas(std::vector<Option> options, const GuestFacts& facts,
                                  const StandbyPaths& paths, std::vector<std::string>& objections) {
  if (paths.replicas.empty()) return options;
  return Rewriter{facts, paths, objections}.run(std::move(options));
}

}  // namespace remus::hypervisor::qemu
