// Which regions of a running guest's disks are written, recorded by QEMU itself: transient dirty bitmaps, named after us.
//
// They cost the guest nothing to speak of (a bit per 4 MiB, kept in QEMU's memory), live as long as QEMU does, and go on
// while no guard is there. What they have is read over QEMU's NBD export, as everything else of a disk is.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "hypervisor/guest_disks.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace remus::hypervisor::qemu {

class ChangeRecords final {
 public:
  static constexpr std::uint64_t region_bytes = 4ULL << 20U;

  explicit ChangeRecords(std::shared_ptr<Qmp> qmp) : qmp_{std::move(qmp)} {}
  /// One more disk: the node its guest writes to.
  void add(std::string node) { nodes_.push_back(std::move(node)); }

  /// As GuestDisks has it; errors are Qmp's. Nothing is left on failure.
  Status begin(const std::string& name);
  [[nodiscard]] Result<std::vector<std::string>> names();
  Status end(const std::vector<std::string>& except);
  /// Nothing more is recorded of this node, so that it can be read. The bitmap's name.
  Result<std::string> stop(const std::string& node, const std::string& name);

 private:
  struct Bitmap {
    std::string node{};
    std::string name{};  ///< without our prefix
    bool sound{};        ///< records without a gap
  };
  [[nodiscard]] Result<std::vector<Bitmap>> list();

  std::shared_ptr<Qmp> qmp_;
  std::vector<std::string> nodes_{};
};

/// What is set in a bitmap of an NBD export. Errors: unreachable, io, corrupt, with libnbd's words.
[[nodiscard]] Result<std::vector<GuestDisks::Range>> read_bitmap(const std::filesystem::path& socket,
                                                                 const std::string& export_name,
                                                                 const std::string& bitmap);

}  // namespace remus::hypervisor::qemu
