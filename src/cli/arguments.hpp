// The command line, understood: what is to be done, with every value checked before anything is asked of
// anybody.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.hpp"

namespace remus::cli {

struct HostShow {};
struct HostList {};
struct HostAdd {
  std::string name{};
  std::vector<std::string> addresses{};
};
struct HostRemove {
  std::string name{};
};
struct CertInit {
  std::filesystem::path directory{};
  std::string cluster{"remus"};
};
struct CertIssue {
  std::filesystem::path ca{};
  std::string host{};
  std::filesystem::path out{};
  std::vector<std::string> dns_names{};
  std::vector<std::string> addresses{};
  int valid_days{730};
};
struct CertShow {
  std::filesystem::path file{"/etc/remus/pki/host.crt"};
};
struct Protect {
  std::string guest{};
  std::string to{};
  std::string qmp{};
  nlohmann::json options = nlohmann::json::object();  ///< only what was given
  bool wait{true};
  bool dry_run{};
};
/// As `xl remus` has it (xl_remus.hpp).
struct XlRemus {
  std::string domain{};
  std::string host{};
  unsigned interval_ms{200};
  bool no_compression{};                       ///< -u
  bool no_wait{};                              ///< -e
  bool unsafe{};                               ///< -F: allows what is refused here all the same
  bool blackhole{};                            ///< -b
  bool no_network_buffer{};                    ///< -n
  bool no_disk{};                              ///< -d
  bool colo{};                                 ///< -c
  bool colo_proxy{};                           ///< -p
  std::optional<std::string> ssh{};            ///< -s
  std::optional<std::string> netbuf_script{};  ///< -N
};
struct Unprotect {
  std::string guest{};
  bool force{};
};
struct Set {
  std::string guest{};
  nlohmann::json options = nlohmann::json::object();
};
struct Show {
  std::string guest{};  ///< empty: all
  bool watch{};
};
struct Top {
  unsigned interval_ms{1000};
  unsigned rounds{};  ///< 0: until interrupted
};
struct Events {
  std::string guest{};
  bool follow{};
};
struct Failover {
  std::string guest{};
  bool force{};
  bool yes{};
};
struct Verify {
  std::string guest{};
  bool disks{};
  std::uint64_t max_pause_ms{};  ///< 0: as the guard has it
};
struct Doctor {
  std::filesystem::path config{"/etc/remus/remus.toml"};
};

using Command = std::variant<HostShow, HostList, HostAdd, HostRemove, CertInit, CertIssue, CertShow, Protect,
                             XlRemus, Unprotect, Set, Show, Top, Events, Failover, Verify, Doctor>;

struct Arguments {
  Command command{HostShow{}};
  std::filesystem::path socket{"/run/remus/remusd.sock"};
  bool json{};
};

/// Help or version was asked for, or the words make no sense: print `text` and end with `status`.
struct Exit {
  int status{};
  std::string text{};
};

/// Reads REMUS_SOCKET from the environment.
[[nodiscard]] std::variant<Arguments, Exit> parse_arguments(int argc, const char* const* argv);

/// 0 success. 1 a fault, 2 invalid, 3 not found, 4 exists, 5 refused, 6 unsupported, 7 incompatible, 8
/// unreachable, 9 denied, 10 exhausted, 11 corrupt, 12 io, 13 timeout, 14 closed. docs/man/remus.1.md lists
/// them.
[[nodiscard]] int exit_status(Errc kind) noexcept;
/// `remus verify` found pages or blocks that differ; `remus doctor` found what fails; `remus protect` ended
/// unprotected.
inline constexpr int exit_not_healthy = 20;

}  // namespace remus::cli
