#include "hypervisor/qemu/guest_disks.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "hypervisor/qemu/disk_export.hpp"
#include "hypervisor/qemu/disk_tap.hpp"

namespace remus::hypervisor::qemu {

namespace {

class Disks final : public GuestDisks {
 public:
  Disks(const std::shared_ptr<Qmp>& qmp, const std::vector<std::pair<std::string, Disk>>& disks,
        const std::filesystem::path& directory)
      : reading_{qmp, directory} {
    for (const auto& [name, disk] : disks) {
      list_.push_back(describe(name, disk));
      taps_.push_back(std::make_unique<DiskTap>(qmp, disk, static_cast<unsigned>(taps_.size())));
    }
  }

  const std::vector<GuestDisk>& list() const override { return list_; }

  Status follow(std::size_t disk, const std::function<Status(Fd)>& serve) override {
    DiskTap& tap = *taps_.at(disk);
    if (Status left = tap.remove(); !left) return left;
    return tap.insert(serve);
  }
  Status intact(std::size_t disk) override { return taps_.at(disk)->intact(); }
  Status leave(std::size_t disk) override { return taps_.at(disk)->remove(); }

  Result<Reading> read(std::size_t disk) override {
    const Disk& of = taps_.at(disk)->disk();
    if (Status added = reading_.add(of); !added) return std::unexpected(added.error());
    return Reading{reading_.socket(), of.node};
  }
  Status end_reading() override { return reading_.remove(); }

 private:
  std::vector<GuestDisk> list_{};
  std::vector<std::unique_ptr<DiskTap>> taps_{};
  DiskExport reading_;  // first to go: it reads beneath the taps
};

}  // namespace

GuestDisk describe(const std::string& name, const Disk& disk) {
  return {.name = name, .bytes = disk.bytes, .image = disk.file, .format = disk.driver};
}

std::unique_ptr<GuestDisks> make_guest_disks(std::shared_ptr<Qmp> qmp,
                                             const std::vector<std::pair<std::string, Disk>>& disks,
                                             const std::filesystem::path& directory) {
  return std::make_unique<Disks>(qmp, disks, directory);
}

}  // namespace remus::hypervisor::qemu
