// /etc/remus/remus.toml: what a host's administrator decides once.
//
// Read strictly: an unknown key, a wrong type or a value out of range is an error that names file, line and
// column, and for a misspelt key the one that was probably meant. A daemon that starts with a typo ignored
// would protect guests in another way than its administrator believes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "guard/options.hpp"
#include "guard/spec.hpp"

namespace remus::daemon {

inline constexpr std::uint16_t default_peer_port = 7600;

/// Another host we may protect guests to, or keep standbys for. Name as in its certificate.
struct Peer {
  std::string name{};
  std::vector<guard::Endpoint> addresses{};  ///< one per path between the hosts, the best first
};

struct Config {
  std::filesystem::path file{};  ///< where it came from; empty: defaults only
  std::string host{};            ///< this host's name; empty in the file: the kernel's, without domain

  guard::Directories dirs{"/etc/remus/pki", "/run/remus", "/var/lib/remus", "/dev/shm/remus"};
  std::filesystem::path log_dir{};  ///< guards' logs; empty: standard error (the journal)
  std::string log_level{"info"};
  std::filesystem::path guard_binary{};  ///< empty in the file: the one installed with us

  std::string api_group{};                     ///< group that may use the admin socket; empty: root only
  std::vector<std::string> listen{"0.0.0.0"};  ///< addresses for peers: daemon and guards
  std::uint16_t peer_port{default_peer_port};
  std::uint16_t guard_port_first{7601};
  std::uint16_t guard_port_last{7699};

  std::map<std::string, Peer> peers{};
  guard::GuestOptions defaults{};

  [[nodiscard]] std::filesystem::path admin_socket() const { return dirs.run / "remusd.sock"; }
};

/// `name` stands in messages ("/etc/remus/remus.toml:3:1: ...").
[[nodiscard]] Result<Config> parse_config(std::string_view text, const std::string& name);
/// Errors: not_found, invalid (with place), io.
[[nodiscard]] Result<Config> load_config(const std::filesystem::path& file);

/// "10.0.0.2", "10.0.0.2:7600", "[fd00::2]:7600", "fd00::2", "hostb": an address of a peer's daemon.
[[nodiscard]] Result<guard::Endpoint> parse_peer_address(std::string_view text, std::uint16_t default_port);

}  // namespace remus::daemon
