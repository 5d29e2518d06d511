// The cluster's own certificate authority: the library behind `remus cert init|issue|show`.
//
//   remus cert init  CA/               ca.crt, ca.key (0600)               once per cluster, kept off the hosts
//                                                                          if possible
//   remus cert issue CA/ host-b OUT/   ca.crt, host.crt, host.key (0600)   copied to host-b:/etc/remus/pki
//
// A certificate signed by this CA *is* the enrolment: a peer without one gets nothing. Taking one back is a
// line in the `revoked` file (link/tls.hpp).
//
// Keys are EC P-256: every TLS stack, HSM and FIPS profile takes it (Ed25519 is still refused by some,
// browsers among them), a signature costs some 30 µs, and AES-128-GCM gives the same strength.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace remus::link {

inline constexpr int ca_valid_days = 3650;
inline constexpr int host_valid_days = 730;

/// Creates `directory` if needed. Errors: exists (a CA is there already; it is never overwritten), io.
[[nodiscard]] Status create_ca(const std::filesystem::path& directory, const std::string& cluster_name,
                               int valid_days = ca_valid_days);

struct HostCertificateRequest {
  std::string host{};                    ///< the name peers expect; becomes CN and the first DNS name
  std::vector<std::string> dns_names{};  ///< further names
  std::vector<std::string> addresses{};  ///< IPv4/IPv6
  int valid_days{host_valid_days};
  std::chrono::seconds start_offset{
      -300};  ///< validity starts this far from now: a little back, for clocks that differ
};

/// Writes ca.crt, host.crt and host.key into `out`, whole or not at all. An existing host.crt/host.key is
/// replaced (renewal). Errors: not_found/denied (CA), invalid (name, address, days), io.
[[nodiscard]] Status issue_host_certificate(const std::filesystem::path& ca_directory,
                                            const HostCertificateRequest& request,
                                            const std::filesystem::path& out);

struct CertificateInfo {
  std::string subject{};
  std::string issuer{};
  std::string serial{};              ///< hex
  std::string fingerprint_sha256{};  ///< 64 hex digits, lower case: what the `revoked` file holds
  std::vector<std::string> dns_names{};
  std::vector<std::string> addresses{};
  std::string not_before{};  ///< ISO 8601, UTC
  std::string not_after{};
  std::int64_t days_left{};  ///< negative when expired
  bool is_ca{};
};

/// Describes the first certificate of a PEM file.
[[nodiscard]] Result<CertificateInfo> describe_certificate(const std::filesystem::path& file);

}  // namespace remus::link
