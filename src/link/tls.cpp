#include "link/tls.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <boost/asio/ssl/context.hpp>
#include <cctype>
#include <cerrno>
#include <fstream>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "link/openssl.hpp"

namespace remus::link {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t revoked_lines_max = 100'000;
const char* const issue_fix = "issue a new one: remus cert issue";

/// Changes when a file is replaced, rewritten, created or removed.
struct Stamp {
  bool there{};
  dev_t device{};
  ino_t inode{};
  off_t bytes{};
  std::int64_t changed_ns{};
  bool operator==(const Stamp&) const = default;
};

Stamp stamp_of(const fs::path& file) {
  struct stat st {};
  if (::stat(file.c_str(), &st) != 0) return {};
  return {true, st.st_dev, st.st_ino, st.st_size,
          static_cast<std::int64_t>(st.st_ctim.tv_sec) * 1'000'000'000 + st.st_ctim.tv_nsec};
}

Status check_key_file(const fs::path& file) {
  struct stat st {};
  if (::stat(file.c_str(), &st) != 0) {
    const int code = errno;
    return fail(code == ENOENT ? Errc::not_found : Errc::denied,
                fmt::format("cannot read {}: {}", file.string(), std::generic_category().message(code)),
                issue_fix);
  }
  // The owner's group may read it (a service group); nobody may be able to change it, nobody else to read it.
  if ((st.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) != 0)
    return fail(Errc::denied,
                fmt::format("the private key {} has mode {:04o}: others may read or change it", file.string(),
                            st.st_mode & 07777U),
                fmt::format("chmod 600 {}; if others could read it, issue a new one and revoke the old",
                            file.string()));
  return {};
}

/// AES-GCM where the processor has instructions for it; ChaCha20 is several times faster where it has not.
bool has_aes_instructions() {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_cpu_supports("aes") != 0;
#else
  return true;
#endif
}

bool configure(SSL_CTX* context) {
  const char* ciphers = has_aes_instructions()
                            ? "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
                            : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                   SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_verify_depth(context, 2);
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(context, ciphers) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1 &&
         SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1;
}

Result<std::set<std::string>> read_revoked(const fs::path& file) {
  std::set<std::string> out;
  if (!stamp_of(file).there) return out;
  std::ifstream in{file};
  if (!in)
    return fail(Errc::io, fmt::format("cannot read the list of revoked certificates {}", file.string()));
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (number > revoked_lines_max)
      return fail(Errc::exhausted,
                  fmt::format("{} has more than {} lines", file.string(), revoked_lines_max));
    line.resize(std::min(line.size(), line.find('#')));
    std::string digits;
    for (const char c : line)
      if (c != ':' && std::isspace(static_cast<unsigned char>(c)) == 0)
        digits += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (digits.empty()) continue;
    const bool hex = std::ranges::all_of(digits, [](unsigned char c) { return std::isxdigit(c) != 0; });
    if (digits.size() != 64 || !hex)
      return fail(
          Errc::corrupt,
          fmt::format("line {} of {} is not a SHA-256 fingerprint; no new connection is made until it is "
                      "mended, lest a revoked peer gets in",
                      number, file.string()),
          "write 64 hex digits a line, as shown by: remus cert show");
    out.insert(std::move(digits));
  }
  if (in.bad()) return fail(Errc::io, fmt::format("reading {} failed", file.string()));
  return out;
}

struct Identity {
  std::shared_ptr<boost::asio::ssl::context> context;
  std::string host;
};

Result<Identity> load_identity(const fs::path& directory) {
  const fs::path ca_file = directory / "ca.crt";
  const fs::path host_file = directory / "host.crt";
  const fs::path key_file = directory / "host.key";
  auto ca = ossl::read_certificate(ca_file);
  if (!ca) return fail(ca.error().kind, ca.error().what, issue_fix);
  auto certificate = ossl::read_certificate(host_file);
  if (!certificate) return fail(certificate.error().kind, certificate.error().what, issue_fix);
  if (Status good = check_key_file(key_file); !good) return std::unexpected(good.error());
  auto key = ossl::read_key(key_file);
  if (!key) return fail(key.error().kind, key.error().what, issue_fix);
  if (Status valid =
          ossl::check_dates(ca->get(), fmt::format("the cluster's CA certificate {}", ca_file.string()),
                            "make a new CA and issue all certificates again");
      !valid)
    return std::unexpected(valid.error());
  if (Status valid = ossl::check_dates(certificate->get(),
                                       fmt::format("the certificate {}", host_file.string()), issue_fix);
      !valid)
    return std::unexpected(valid.error());
  if (X509_check_private_key(certificate->get(), key->get()) != 1) {
    static_cast<void>(ossl::take_error());
    return fail(Errc::denied,
                fmt::format("{} is not the key of the certificate {}", key_file.string(), host_file.string()),
                "copy both from the same 'remus cert issue'");
  }
  if (const ossl::KeyPtr ca_key{X509_get_pubkey(ca->get())};
      X509_verify(certificate->get(), ca_key.get()) != 1) {
    static_cast<void>(ossl::take_error());
    return fail(Errc::denied,
                fmt::format("{} was not signed by the CA {}", host_file.string(), ca_file.string()),
                "copy both from the same 'remus cert issue'");
  }
  const auto names = ossl::dns_names(certificate->get());
  if (names.empty())
    return fail(Errc::denied, fmt::format("{} names no host (no DNS name)", host_file.string()), issue_fix);

  ossl::SslCtxPtr native{SSL_CTX_new(TLS_method())};
  if (!native || !configure(native.get()) || SSL_CTX_use_certificate(native.get(), certificate->get()) != 1 ||
      SSL_CTX_use_PrivateKey(native.get(), key->get()) != 1 ||
      X509_STORE_add_cert(SSL_CTX_get_cert_store(native.get()), ca->get()) != 1)
    return fail(Errc::internal, fmt::format("OpenSSL could not be set up from {}: {}", directory.string(),
                                            ossl::take_error()));
  return Identity{std::make_shared<boost::asio::ssl::context>(native.release()), names.front()};
}

}  // namespace

bool PeerCertificate::has_name(std::string_view name) const {
  return std::ranges::any_of(dns_names, [name](const std::string& own) {
    return std::ranges::equal(
        own, name, [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
  });
}

struct Pki::Impl {
  fs::path directory;
  Identity identity;
  std::set<std::string> revoked;
  std::array<Stamp, 3> identity_stamps;
  Stamp revoked_stamp;

  [[nodiscard]] std::array<Stamp, 3> current_stamps() const {
    return {stamp_of(directory / "ca.crt"), stamp_of(directory / "host.crt"),
            stamp_of(directory / "host.key")};
  }
  // Stamps are taken before reading: a change while reading is seen next time.
  Status read_identity() {
    const auto stamps = current_stamps();
    auto loaded = load_identity(directory);
    if (!loaded) return std::unexpected(loaded.error());
    identity = std::move(*loaded);
    identity_stamps = stamps;
    return {};
  }
  Status read_revocations() {
    const Stamp stamp = stamp_of(directory / "revoked");
    auto list = read_revoked(directory / "revoked");
    if (!list) return std::unexpected(list.error());
    revoked = std::move(*list);
    revoked_stamp = stamp;
    return {};
  }
};

Pki::Pki(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
Pki::~Pki() = default;

Result<std::shared_ptr<Pki>> Pki::open(const fs::path& directory) {
  auto impl = std::make_unique<Impl>();
  impl->directory = directory;
  if (Status read = impl->read_identity(); !read) return std::unexpected(read.error());
  if (Status read = impl->read_revocations(); !read) return std::unexpected(read.error());
  return std::shared_ptr<Pki>{new Pki{std::move(impl)}};
}

const std::string& Pki::host() const noexcept {
  return impl_->identity.host;
}
const fs::path& Pki::directory() const noexcept {
  return impl_->directory;
}

Result<std::shared_ptr<boost::asio::ssl::context>> Pki::context() {
  if (impl_->current_stamps() != impl_->identity_stamps)
    if (Status read = impl_->read_identity(); !read)
      return std::unexpected(read.error().in("the host's certificate files have changed and cannot be used"));
  return impl_->identity.context;
}

Result<PeerCertificate> Pki::judge(X509* certificate, const std::string& expected_host) {
  PeerCertificate peer;
  peer.dns_names = ossl::dns_names(certificate);
  peer.fingerprint_sha256 = ossl::fingerprint_sha256(certificate);
  if (peer.dns_names.empty() || peer.fingerprint_sha256.empty())
    return fail(Errc::denied, "the peer's certificate names no host (no DNS name)", issue_fix);
  peer.host = peer.dns_names.front();
  if (!expected_host.empty() && !peer.has_name(expected_host))
    return fail(
        Errc::denied,
        fmt::format("the peer's certificate is for {}, expected was {}", fmt::join(peer.dns_names, ", "),
                    expected_host),
        "check the host's name and address, or issue its certificate with this name: remus cert issue");
  if (stamp_of(impl_->directory / "revoked") != impl_->revoked_stamp)
    if (Status read = impl_->read_revocations(); !read) return std::unexpected(read.error());
  if (impl_->revoked.contains(peer.fingerprint_sha256))
    return fail(
        Errc::denied,
        fmt::format("the certificate of {} ({}) has been revoked", peer.host, peer.fingerprint_sha256),
        "issue a new one if this host is to be enrolled again: remus cert issue");
  return peer;
}

}  // namespace remus::link
