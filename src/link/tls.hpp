// Who may speak to us, and as whom we speak: a host's PKI directory made into TLS contexts.
//
//   /etc/remus/pki/   ca.crt     the cluster's CA: signed by it = enrolled
//                     host.crt   this host's certificate, with its host name among the DNS names
//                     host.key   0600
//                     revoked    optional: SHA-256 fingerprints of certificates taken back, one a line;
//                                # begins a comment
//
// TLS 1.3 only, mutual certificates, no session tickets (a resumed session would skip the certificate check).
// Files are read again when they change, so that renewal and revocation need no restart; what is connected
// stays connected.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace boost::asio::ssl {
class context;
}
using X509 = struct x509_st;

namespace remus::link {

/// A peer whose certificate was checked.
struct PeerCertificate {
  std::string host{};  ///< its first DNS name
  std::vector<std::string> dns_names{};
  std::string fingerprint_sha256{};  ///< 64 hex digits, lower case
  [[nodiscard]] bool has_name(std::string_view name) const;
};

/// A host's identity and its judgement of others. One per process and directory; not thread-safe.
class Pki final {
 public:
  /// Reads and checks everything. Errors name the file and the reason: not_found, denied (key readable by
  /// others, key does not match, expired, not yet valid), corrupt.
  [[nodiscard]] static Result<std::shared_ptr<Pki>> open(const std::filesystem::path& directory);
  ~Pki();
  Pki(const Pki&) = delete;
  Pki& operator=(const Pki&) = delete;

  /// This host's name: the first DNS name of host.crt.
  [[nodiscard]] const std::string& host() const noexcept;
  [[nodiscard]] const std::filesystem::path& directory() const noexcept;

  /// The context for new connections, both as client and as server; read again if a file changed. If the
  /// changed files are unusable an error: we do not go on with an identity the administrator has replaced.
  [[nodiscard]] Result<std::shared_ptr<boost::asio::ssl::context>> context();

  /// Judges a certificate whose chain and dates OpenSSL has accepted: not revoked, and carrying
  /// `expected_host` unless that is empty. Errors: denied, with the sentence for the log.
  [[nodiscard]] Result<PeerCertificate> judge(X509* certificate, const std::string& expected_host);

 private:
  struct Impl;
  explicit Pki(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace remus::link
