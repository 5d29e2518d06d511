// What an administrator says of a guest's disks: `disks` of the options, --disk on the command line.
//
// A disk that the guest can write is one of its states: it must be as old as the memory that goes on after a
// failover. So each is named with what makes that so, or the guest is refused.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "guard/strict_json.hpp"

namespace remus::guard {

enum class DiskMode {
  replicate,  ///< every write is replicated with the epoch it belongs to
  shared,     ///< both hosts see the same storage: SAN, NFS, Ceph
  external,   ///< somebody else replicates each write before it is answered: DRBD, protocol C
  scratch,    ///< never written, or its content is not needed as it was; each host has its own
};
[[nodiscard]] std::string_view to_string(DiskMode mode) noexcept;  ///< "replicate", "shared", ...
[[nodiscard]] std::optional<DiskMode> disk_mode_named(std::string_view name) noexcept;

/// Two copies of the guest that write to it at once destroy it.
[[nodiscard]] constexpr bool needs_one_writer(DiskMode mode) noexcept {
  return mode == DiskMode::shared || mode == DiskMode::external;
}

struct DiskOption {
  std::string name{};  ///< QEMU: of drive, device or node ("vda"); Xen: of the virtual device ("hda")
  DiskMode mode{DiskMode::replicate};
  /// The replica's path on the backup. Empty: the same path as on the primary where the image there is raw, else that path
  /// and ".raw".
  std::string target{};
  bool overwrite{};  ///< the target may exist, and hold something else
  bool operator==(const DiskOption&) const = default;
};

/// Those of one mode, in their order.
[[nodiscard]] std::vector<std::string> disk_names(const std::vector<DiskOption>& disks, DiskMode mode);

[[nodiscard]] nlohmann::json to_json(const std::vector<DiskOption>& disks);
/// A list of {"name", "mode", "target", "overwrite"}; only the name is required. Strict; not validated.
[[nodiscard]] Status read_disks(const nlohmann::json& value, const Where& where,
                                std::vector<DiskOption>& out);
/// NAME[=MODE][,target=PATH][,overwrite]; sound in itself. Errors: invalid.
[[nodiscard]] Result<DiskOption> parse_disk_option(std::string_view text);

/// Names and targets: each sound and there once, and only where the mode takes a target.
[[nodiscard]] Status validate_disks(const std::vector<DiskOption>& disks, const Where& where);

}  // namespace remus::guard
