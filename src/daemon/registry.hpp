// Which guests this host has to do with, on disk: STATE/guests/<name>.json, one file a guest.
//
// A registration is written before the first step that would be lost without it, and removed after the last
// one. What must survive a full disk (generations) is not here but in guard::StateFile.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "daemon/config.hpp"
#include "guard/options.hpp"

namespace remus::daemon {

enum class Role {
  primary,  ///< the guest runs here and is protected to `peer`
  backup,   ///< a standby is kept here for `peer`, where the guest runs
  owner,    ///< the guest runs here since a failover, and is not protected
};
[[nodiscard]] std::string_view to_string(Role role) noexcept;

struct Registration {
  std::string guest{};
  Role role{Role::primary};
  std::string peer{};
  std::string hypervisor{"qemu"};  ///< "qemu", "xen"
  std::string qmp{};               ///< primary, owner; of a QEMU guest
  guard::GuestOptions options{};
  std::uint64_t generation{};         ///< last one seen; the state file leads
  std::uint32_t guest_pid{};          ///< 0: not known
  std::uint64_t guest_start_ticks{};  ///< with guest_pid: tells a reused pid from the guest
  std::uint32_t guest_domid{};        ///< of a Xen guest; 0: not known
  std::string guest_uuid{};           ///< with guest_domid: tells a reused number from the guest
  nlohmann::json description{};       ///< what the standby is built from
  nlohmann::json
      handle{};  ///< backup: how its standby is managed once it runs: {"qmp", "pid"}, {"domain", "domid"}
};

[[nodiscard]] nlohmann::json to_json(const Registration& registration);
[[nodiscard]] Result<Registration> registration_from_json(const nlohmann::json& value);

class Registry final {
 public:
  explicit Registry(std::filesystem::path state_dir) : dir_{std::move(state_dir)} {}

  /// Creates the directories. Files that cannot be read are reported in `problems` and left alone.
  [[nodiscard]] Result<std::vector<Registration>> load(std::vector<Error>& problems) const;
  [[nodiscard]] Status save(const Registration& registration) const;
  [[nodiscard]] Status remove(std::string_view guest) const;

  /// Peers added by `remus host add`, besides those of remus.toml: STATE/peers.json.
  [[nodiscard]] Result<std::map<std::string, Peer>> load_peers() const;
  [[nodiscard]] Status save_peers(const std::map<std::string, Peer>& peers) const;

 private:
  [[nodiscard]] std::filesystem::path file(std::string_view guest) const;

  std::filesystem::path dir_;
};

}  // namespace remus::daemon
