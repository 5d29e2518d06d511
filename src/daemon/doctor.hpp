// What must be right on a host before a guest can be protected there, checked, and said with the way to put
// it right.
//
// The judgement (this file's checks) is apart from looking (Probes), so that tests can show it any host.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "daemon/config.hpp"
#include "link/certificates.hpp"

namespace remus::daemon::doctor {

enum class Verdict { ok, warn, fail };
[[nodiscard]] std::string_view to_string(Verdict verdict) noexcept;  ///< "ok", "warn", "fail"

struct Check {
  std::string name{};  ///< "qemu", "certificate", ...
  Verdict verdict{Verdict::ok};
  std::string text{};  ///< what was found
  std::string fix{};   ///< what to do about it; empty when ok
};

/// How to look at a host. All blocking, all quick (≤ 2 s).
struct Probes {
  std::function<std::string()> kernel_release{};                                 ///< "6.1.0-18-amd64"
  std::function<Status()> kvm{};                                                 ///< opens and answers
  std::function<Result<std::string>()> qemu_version{};                           ///< first line of --version
  std::function<Status(const std::string& address, std::uint16_t port)> bind{};  ///< could be listened on
  std::function<Result<std::uint64_t>(const std::filesystem::path&)>
      free_bytes{};  ///< of the file system there
  std::function<std::uint64_t()> memory_available{};
  std::function<Result<link::CertificateInfo>(const std::filesystem::path&)> certificate{};
  std::function<Status(const std::filesystem::path& pki)> identity{};  ///< all of it, as it will be used
  std::function<Status(const std::filesystem::path&)> open_device{};
  std::function<std::vector<std::string>()> bridges{};
  std::function<bool()> clock_synchronized{};
  std::function<bool(const std::filesystem::path&)> executable{};
  /// What there is to say of Xen (doctor_xen.hpp); nothing where the host does not run it.
  std::function<std::optional<std::vector<Check>>(const Config&)> xen{};
};
[[nodiscard]] Probes real_probes();

/// `daemon_runs`: the ports are expected to be taken, by us.
[[nodiscard]] std::vector<Check> examine(const Config& config, const Probes& probes, bool daemon_runs);
/// Adds what there is to say of each peer, from what Host::peer_states() and Host::guests() say: does it
/// answer, in which version, is its clock ours, and has it room for the standbys of the guests protected to
/// it.
void add_peers(std::vector<Check>& checks, const nlohmann::json& peers,
               const nlohmann::json& guests = nlohmann::json::array());

/// {"healthy": false, "checks": [{"name", "verdict", "text", "fix"}, ...]}
[[nodiscard]] nlohmann::json to_json(const std::vector<Check>& checks);

// Single judgements, for tests and for their own sake.
[[nodiscard]] Check judge_kernel(const std::string& release);
[[nodiscard]] Check judge_qemu(const Result<std::string>& version_line, bool kvm_usable);
[[nodiscard]] Check judge_certificate(const Result<link::CertificateInfo>& certificate,
                                      const std::string& host);
[[nodiscard]] Check judge_authority(const Result<link::CertificateInfo>& certificate);

/// Room for standbys on this host, as it is told to peers (GET /v1/peer/hello).
struct Room {
  std::uint64_t memory_bytes{};  ///< available
  std::uint64_t image_bytes{};   ///< free in the directory of images
};
[[nodiscard]] std::optional<Room> room_for_standbys(const std::filesystem::path& image);

}  // namespace remus::daemon::doctor
