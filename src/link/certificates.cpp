#include "link/certificates.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <ctime>
#include <span>
#include <system_error>

#include "base/fd.hpp"
#include "link/openssl.hpp"

namespace remus::link {
namespace {

namespace fs = std::filesystem;
using ossl::BioPtr;
using ossl::CertPtr;
using ossl::KeyPtr;

constexpr std::size_t dns_name_bytes_max = 253;
constexpr std::size_t common_name_bytes_max = 64;  // RFC 5280, ub-common-name
constexpr int days_max = 36500;

std::unexpected<Error> crypto_failed(std::string_view doing) {
  return fail(Errc::internal, fmt::format("OpenSSL could not {}: {}", doing, ossl::take_error()));
}

Status check_dns_name(const std::string& name) {
  const bool letters = std::ranges::all_of(name, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_';
  });
  if (name.empty() || name.size() > dns_name_bytes_max || !letters || name.front() == '.' ||
      name.front() == '-')
    return fail(Errc::invalid, fmt::format("'{}' is not a host name", name),
                "use letters, digits, '-', '_' and '.', at most 253 of them");
  return {};
}

KeyPtr new_key() {
  return KeyPtr{EVP_EC_gen("P-256")};
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  std::unique_ptr<X509_EXTENSION, ossl::Deleter<X509_EXTENSION_free>> extension{
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str())};
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool set_serial(X509* certificate) {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);  // positive, and always 16 bytes
  const std::unique_ptr<BIGNUM, ossl::Deleter<BN_free>> number{
      BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr)};
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

/// A certificate with all but its extensions and signature.
CertPtr new_certificate(const std::string& common_name, const X509_NAME* issuer, EVP_PKEY* key,
                        int valid_days, std::chrono::seconds start_offset) {
  CertPtr certificate{X509_new()};
  if (!certificate) return nullptr;
  const std::unique_ptr<X509_NAME, ossl::Deleter<X509_NAME_free>> subject{X509_NAME_new()};
  const auto add = [&subject](const char* field, std::string_view value) {
    return X509_NAME_add_entry_by_txt(subject.get(), field, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
  };
  std::time_t now = std::time(nullptr);
  const long offset = static_cast<long>(start_offset.count());
  const bool good =
      subject && add("O", "Remus") &&
      add("CN", std::string_view{common_name}.substr(0, common_name_bytes_max)) &&
      X509_set_version(certificate.get(), X509_VERSION_3) == 1 && set_serial(certificate.get()) &&
      X509_set_subject_name(certificate.get(), subject.get()) == 1 &&
      X509_set_issuer_name(certificate.get(), issuer != nullptr ? issuer : subject.get()) == 1 &&
      X509_set_pubkey(certificate.get(), key) == 1 &&
      X509_time_adj_ex(X509_getm_notBefore(certificate.get()), 0, offset, &now) != nullptr &&
      X509_time_adj_ex(X509_getm_notAfter(certificate.get()), valid_days, offset, &now) != nullptr;
  return good ? std::move(certificate) : nullptr;
}

Result<std::string> to_pem(X509* certificate) {
  const BioPtr memory{BIO_new(BIO_s_mem())};
  if (!memory || PEM_write_bio_X509(memory.get(), certificate) != 1)
    return crypto_failed("encode a certificate");
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

Result<std::string> to_pem(EVP_PKEY* key) {
  const BioPtr memory{BIO_new(BIO_s_mem())};
  if (!memory || PEM_write_bio_PKCS8PrivateKey(memory.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return crypto_failed("encode a private key");
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

/// Writes a temporary file beside `file`, whole and on disk, with `mode` from its first byte on.
Status write_new(const fs::path& file, const std::string& content, mode_t mode) {
  ::unlink(file.c_str());
  const Fd fd{::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)};
  if (!fd) return fail_errno(errno, fmt::format("cannot create {}", file.string()));
  std::string_view rest{content};
  while (!rest.empty()) {
    const ssize_t n = ::write(fd.get(), rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_errno(errno, fmt::format("cannot write {}", file.string()));
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0)
    return fail_errno(errno, fmt::format("cannot finish {}", file.string()));
  return {};
}

struct NewFile {
  fs::path file;
  std::string content;
  mode_t mode;
};

/// All files are written beside their place first, then renamed into it: a full disk leaves what was there.
Status install(std::span<const NewFile> files) {
  const auto temporary = [](const fs::path& file) { return fs::path{file.string() + ".new"}; };
  const auto clean_up = [&] {
    for (const NewFile& f : files) ::unlink(temporary(f.file).c_str());
  };
  for (const NewFile& f : files)
    if (Status written = write_new(temporary(f.file), f.content, f.mode); !written) {
      clean_up();
      return written;
    }
  for (const NewFile& f : files)
    if (::rename(temporary(f.file).c_str(), f.file.c_str()) != 0) {
      const int code = errno;
      clean_up();
      return fail_errno(code, fmt::format("cannot put {} into its place", f.file.string()));
    }
  return {};
}

Status make_directory(const fs::path& directory) {
  std::error_code error;
  const bool existed = fs::is_directory(directory, error);
  fs::create_directories(directory, error);
  if (error)
    return fail(Errc::io,
                fmt::format("cannot create the directory {}: {}", directory.string(), error.message()));
  if (!existed) fs::permissions(directory, fs::perms::owner_all, error);
  return {};
}

Result<std::string> subject_alternative_names(const HostCertificateRequest& request) {
  std::string out;
  const auto add = [&out](const char* kind, const std::string& value) {
    if (!out.empty()) out += ',';
    out += fmt::format("{}:{}", kind, value);
  };
  if (Status good = check_dns_name(request.host); !good) return std::unexpected(good.error());
  add("DNS", request.host);
  for (const std::string& name : request.dns_names) {
    if (Status good = check_dns_name(name); !good) return std::unexpected(good.error());
    if (name != request.host) add("DNS", name);
  }
  for (const std::string& address : request.addresses) {
    std::array<unsigned char, 16> binary{};
    if (::inet_pton(AF_INET, address.c_str(), binary.data()) != 1 &&
        ::inet_pton(AF_INET6, address.c_str(), binary.data()) != 1)
      return fail(Errc::invalid, fmt::format("'{}' is not an IP address", address));
    add("IP", address);
  }
  return out;
}

Status check_days(int days) {
  // Zero and less make a certificate that has expired already: of use only to see it refused.
  if (days > days_max)
    return fail(Errc::invalid, fmt::format("{} days are too many; at most {}", days, days_max));
  return {};
}

std::string hex_serial(X509* certificate) {
  const std::unique_ptr<BIGNUM, ossl::Deleter<BN_free>> number{
      ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr)};
  if (!number) return {};
  char* text = BN_bn2hex(number.get());
  std::string out = text != nullptr ? text : "";
  OPENSSL_free(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

}  // namespace

Status create_ca(const fs::path& directory, const std::string& cluster_name, int valid_days) {
  if (cluster_name.empty() || cluster_name.size() > common_name_bytes_max)
    return fail(Errc::invalid,
                fmt::format("the cluster's name must have 1 to {} bytes", common_name_bytes_max));
  if (Status good = check_days(valid_days); !good) return good;
  if (Status made = make_directory(directory); !made) return made;
  for (const char* name : {"ca.crt", "ca.key"})
    if (fs::path file = directory / name; fs::exists(file))
      return fail(Errc::exists, fmt::format("{} is there already; a CA is never overwritten", file.string()),
                  "choose another directory, or move the old CA away if no host uses it any more");

  const KeyPtr key = new_key();
  if (!key) return crypto_failed("make a key");
  const CertPtr certificate =
      new_certificate(cluster_name, nullptr, key.get(), valid_days, std::chrono::seconds{-300});
  if (!certificate) return crypto_failed("make the CA certificate");
  X509* ca = certificate.get();
  if (!add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(ca, ca, NID_subject_key_identifier, "hash") ||
      X509_sign(ca, key.get(), EVP_sha256()) == 0)
    return crypto_failed("sign the CA certificate");

  auto key_pem = to_pem(key.get());
  if (!key_pem) return std::unexpected(key_pem.error());
  auto certificate_pem = to_pem(ca);
  if (!certificate_pem) return std::unexpected(certificate_pem.error());
  const std::array files{NewFile{directory / "ca.key", *key_pem, 0600},
                         NewFile{directory / "ca.crt", *certificate_pem, 0644}};
  return install(files);
}

Status issue_host_certificate(const fs::path& ca_directory, const HostCertificateRequest& request,
                              const fs::path& out) {
  auto names = subject_alternative_names(request);
  if (!names) return std::unexpected(names.error());
  if (Status good = check_days(request.valid_days); !good) return good;
  const std::string no_ca = "make a CA first: remus cert init DIRECTORY";
  auto ca = ossl::read_certificate(ca_directory / "ca.crt");
  if (!ca) return fail(ca.error().kind, ca.error().what, no_ca);
  auto ca_key = ossl::read_key(ca_directory / "ca.key");
  if (!ca_key) return fail(ca_key.error().kind, ca_key.error().what, no_ca);
  if (X509_check_private_key(ca->get(), ca_key->get()) != 1) {
    static_cast<void>(ossl::take_error());
    return fail(Errc::denied,
                fmt::format("ca.key and ca.crt in {} do not belong together", ca_directory.string()));
  }
  if (Status valid = ossl::check_dates(ca->get(), fmt::format("the CA in {}", ca_directory.string()),
                                       "make a new CA and issue all certificates again");
      !valid)
    return valid;

  const KeyPtr key = new_key();
  if (!key) return crypto_failed("make a key");
  const CertPtr certificate = new_certificate(request.host, X509_get_subject_name(ca->get()), key.get(),
                                              request.valid_days, request.start_offset);
  if (!certificate) return crypto_failed("make the certificate");
  X509* host = certificate.get();
  if (!add_extension(host, ca->get(), NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(host, ca->get(), NID_key_usage, "critical,digitalSignature") ||
      !add_extension(host, ca->get(), NID_ext_key_usage, "serverAuth,clientAuth") ||
      !add_extension(host, ca->get(), NID_subject_alt_name, *names) ||
      !add_extension(host, ca->get(), NID_subject_key_identifier, "hash") ||
      !add_extension(host, ca->get(), NID_authority_key_identifier, "keyid") ||
      X509_sign(host, ca_key->get(), EVP_sha256()) == 0)
    return crypto_failed("sign the certificate");

  auto key_pem = to_pem(key.get());
  if (!key_pem) return std::unexpected(key_pem.error());
  auto certificate_pem = to_pem(host);
  if (!certificate_pem) return std::unexpected(certificate_pem.error());
  auto ca_pem = to_pem(ca->get());
  if (!ca_pem) return std::unexpected(ca_pem.error());
  if (Status made = make_directory(out); !made) return made;
  const std::array files{NewFile{out / "host.key", *key_pem, 0600},
                         NewFile{out / "host.crt", *certificate_pem, 0644},
                         NewFile{out / "ca.crt", *ca_pem, 0644}};
  return install(files);
}

Result<CertificateInfo> describe_certificate(const fs::path& file) {
  auto certificate = ossl::read_certificate(file);
  if (!certificate) return std::unexpected(certificate.error());
  X509* x = certificate->get();
  CertificateInfo info;
  info.subject = ossl::one_line(X509_get_subject_name(x));
  info.issuer = ossl::one_line(X509_get_issuer_name(x));
  info.serial = hex_serial(x);
  info.fingerprint_sha256 = ossl::fingerprint_sha256(x);
  info.dns_names = ossl::dns_names(x);
  info.addresses = ossl::addresses(x);
  info.not_before = ossl::iso_time(X509_get0_notBefore(x));
  info.not_after = ossl::iso_time(X509_get0_notAfter(x));
  info.is_ca = X509_check_ca(x) == 1;
  int days = 0;
  int seconds = 0;
  if (ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(x)) != 1)
    return fail(Errc::corrupt, fmt::format("{} has an end of validity that cannot be read", file.string()));
  // Rounded down, so that a certificate which expired an hour ago has -1 days left, not 0.
  info.days_left = days - (seconds < 0 ? 1 : 0);
  return info;
}

}  // namespace remus::link
