#include "hypervisor/qemu/guest_disks.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "hypervisor/qemu/change_records.hpp"
#include "hypervisor/qemu/disk_export.hpp"
#include "hypervisor/qemu/disk_tap.hpp"

namespace remus::hypervisor::qemu {

namespace {

class Disks final : public GuestDisks {
 public:
  Disks(const std::shared_ptr<Qmp>& qmp, const std::vector<std::pair<std::string, Disk>>& disks,
        const std::filesystem::path& directory, const Standstill& standstill)
      : qmp_{qmp}, reading_{qmp, directory}, records_{qmp} {
    for (const auto& [name, disk] : disks) {
      list_.push_back(describe(name, disk));
      exportable_ = exportable_ && can_export(disk, qmp->version());
      records_.add(disk.node);
      taps_.push_back(std::make_unique<DiskTap>(qmp, disk, static_cast<unsigned>(taps_.size()), standstill));
    }
  }

  const std::vector<GuestDisk>& list() const override { return list_; }

  Status follow(std::size_t disk, const std::function<Status(Fd)>& serve) override {
    DiskTap& tap = *taps_.at(disk);
    if (Status left = tap.remove(); !left) return left;
    return tap.insert(serve);
  }
  Result<std::vector<std::size_t>> broken() override {
    const auto jobs = qmp_->execute("query-block-jobs");
    if (!jobs) return std::unexpected(jobs.error());
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < taps_.size(); ++i)
      if (!taps_[i]->intact(*jobs)) out.push_back(i);
    return out;
  }
  Status leave(std::size_t disk) override { return taps_.at(disk)->remove(); }

  Result<Reading> read(std::size_t disk) override {
    const Disk& of = taps_.at(disk)->disk();
    if (!can_export(of, qmp_->version())) return Reading{.image = of.file};
    if (Status added = reading_.add(of); !added) return std::unexpected(added.error());
    return Reading{reading_.socket(), of.node};
  }
  Status end_reading() override { return reading_.remove(); }

  Status begin_record(const std::string& name) override {
    return exportable_ ? records_.begin(name) : Status{};
  }
  Result<std::vector<std::string>> records() override { return records_.names(); }
  Result<std::vector<Range>> take_record(std::size_t disk, const std::string& name) override {
    const Disk& of = taps_.at(disk)->disk();
    auto bitmap = records_.stop(of.node, name);
    if (!bitmap) return std::unexpected(bitmap.error());
    if (Status added = reading_.add(of, *bitmap); !added) return std::unexpected(added.error());
    auto ranges = read_bitmap(reading_.socket(), of.node, *bitmap);
    if (Status ended = reading_.remove(); !ended) return std::unexpected(ended.error());
    return ranges;
  }
  Status end_records(const std::vector<std::string>& except) override { return records_.end(except); }

 private:
  std::shared_ptr<Qmp> qmp_;
  std::vector<GuestDisk> list_{};
  std::vector<std::unique_ptr<DiskTap>> taps_{};
  bool exportable_{true};  ///< all of them; else no record could be read
  DiskExport reading_;     // first to go: it reads beneath the taps
  ChangeRecords records_;
};

}  // namespace

GuestDisk describe(const std::string& name, const Disk& disk) {
  return {.name = name, .bytes = disk.bytes, .image = disk.file, .format = disk.driver};
}

std::unique_ptr<GuestDisks> make_guest_disks(std::shared_ptr<Qmp> qmp,
                                             const std::vector<std::pair<std::string, Disk>>& disks,
                                             const std::filesystem::path& directory,
                                             const Standstill& standstill) {
  return std::make_unique<Disks>(qmp, disks, directory, standstill);
}

}  // namespace remus::hypervisor::qemu
