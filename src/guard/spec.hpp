// What a guard is told when it is started: `remus-guard --spec FILE`, FILE holding this as JSON.
//
// The daemon writes it (atomically, 0600) before it starts the guard; the guard reads it once. Nothing in it
// changes while the guard lives, except what /v1/connect and /v1/adjust of its control socket bring (see
// api.hpp).
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "guard/options.hpp"
#include "hypervisor/domain.hpp"

namespace remus::guard {

enum class Side { primary, backup };
[[nodiscard]] std::string_view to_string(Side side) noexcept;  ///< "primary", "backup"

/// A TCP address. Text form: "10.0.0.2:7600", "[fd00::2]:7600", "hostb.example:7600".
struct Endpoint {
  std::string host{};
  std::uint16_t port{};
  bool operator==(const Endpoint&) const = default;
};
[[nodiscard]] std::string to_string(const Endpoint& endpoint);
[[nodiscard]] Result<Endpoint> parse_endpoint(std::string_view text);

/// Where a backup's guard waits for its primary: the first free port of the range. 0..0 lets the kernel
/// choose.
struct Listen {
  std::vector<std::string> addresses{};  ///< empty: all addresses of this host
  std::uint16_t port_first{};
  std::uint16_t port_last{};
};

struct Directories {
  std::filesystem::path pki{};    ///< certificates of this host: ca.crt, host.crt, host.key
  std::filesystem::path run{};    ///< sockets and pid files; emptied by a reboot
  std::filesystem::path state{};  ///< durable: <guest>.state (state_file.hpp)
  std::filesystem::path image{};  ///< the backup's images, in memory (/dev/shm/remus)
};

struct GuardSpec {
  Side side{Side::primary};
  std::string guest{};
  std::string hypervisor{"qemu"};        ///< "qemu" or "xen"; a Xen guest's domain has the guest's name
  std::string host{};                    ///< this host's name, as in its certificate
  std::string peer{};                    ///< the other host's name: no other certificate is accepted
  std::vector<Endpoint> peer_daemons{};  ///< every known address of the peer's daemon (host reports)
  Directories dirs{};
  std::filesystem::path log_file{};  ///< empty: standard error
  std::string log_level{"info"};     ///< trace, debug, info, warn, error
  GuestOptions options{};
  std::uint64_t generation{};  ///< at least this; the state file may hold a later one, which then leads

  // primary only
  std::string qmp{};                   ///< the running guest's QMP socket (QEMU)
  std::vector<Endpoint> peer_links{};  ///< where the backup's guard listens; empty: wait for /v1/connect
  bool rescue_first{};                 ///< a predecessor died: resume the guest and undo its traces first
  std::uint64_t
      superseded_by{};  ///< not 0: another host runs this later generation. Fence the guest, then exit with 0

  // backup only
  std::optional<hypervisor::GuestDescription> description{};  ///< from the primary's guard
  Listen listen{};
};

[[nodiscard]] nlohmann::json to_json(const GuardSpec& spec);
[[nodiscard]] nlohmann::json to_json(const hypervisor::GuestDescription& description);
/// Strict; also checks what belongs to which side.
[[nodiscard]] Result<GuardSpec> spec_from_json(const nlohmann::json& value);
[[nodiscard]] Result<hypervisor::GuestDescription> description_from_json(const nlohmann::json& value,
                                                                         const Where& where = {
                                                                             "description"});
[[nodiscard]] Result<GuardSpec> load_spec(const std::filesystem::path& file);

/// Guests are named like hosts: letters, digits, '.', '_', '-'; at most 63; the first a letter or digit.
[[nodiscard]] Status validate_guest_name(std::string_view name);
/// The same form for host names (they stand in certificates).
[[nodiscard]] Status validate_host_name(std::string_view name);

/// RUN/guards/<guest>.<side>.sock, .spec, .pid
[[nodiscard]] std::filesystem::path control_socket(const std::filesystem::path& run, std::string_view guest,
                                                   Side side);
[[nodiscard]] std::filesystem::path spec_file(const std::filesystem::path& run, std::string_view guest,
                                              Side side);
/// STATE/<guest>.state: one per guest, whichever side this host has.
[[nodiscard]] std::filesystem::path state_file(const std::filesystem::path& state, std::string_view guest);

}  // namespace remus::guard
