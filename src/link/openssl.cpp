#include "link/openssl.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <limits>
#include <system_error>

namespace remus::link::ossl {
namespace {

using FilePtr = std::unique_ptr<std::FILE, Deleter<std::fclose>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;

Result<FilePtr> open_file(const std::filesystem::path& file) {
  FilePtr stream{std::fopen(file.c_str(), "rbe")};
  if (stream) return stream;
  const int code = errno;
  const Errc kind = code == ENOENT ? Errc::not_found : code == EACCES ? Errc::denied : Errc::io;
  return fail(kind, fmt::format("cannot read {}: {}", file.string(), std::generic_category().message(code)));
}

NamesPtr alternative_names(X509* certificate) {
  return NamesPtr{
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr))};
}

}  // namespace

std::string take_error() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "unknown OpenSSL error";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : fmt::format("OpenSSL error {:#x}", code);
}

Result<CertPtr> read_certificate(const std::filesystem::path& file) {
  auto stream = open_file(file);
  if (!stream) return std::unexpected(stream.error());
  CertPtr certificate{PEM_read_X509(stream->get(), nullptr, nullptr, nullptr)};
  if (!certificate)
    return fail(Errc::corrupt,
                fmt::format("{} holds no readable PEM certificate: {}", file.string(), take_error()));
  return certificate;
}

Result<KeyPtr> read_key(const std::filesystem::path& file) {
  auto stream = open_file(file);
  if (!stream) return std::unexpected(stream.error());
  // An encrypted key would make OpenSSL ask on the terminal; a daemon has none. An empty password fails
  // instead.
  const auto no_password = [](char*, int, int, void*) { return 0; };
  KeyPtr key{PEM_read_PrivateKey(stream->get(), nullptr, no_password, nullptr)};
  if (!key)
    return fail(Errc::corrupt, fmt::format("{} holds no readable, unencrypted PEM private key: {}",
                                           file.string(), take_error()));
  return key;
}

std::string fingerprint_sha256(X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) return {};
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest.at(i));
  return hex;
}

std::vector<std::string> dns_names(X509* certificate) {
  std::vector<std::string> out;
  const NamesPtr names = alternative_names(certificate);
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    const auto* text = ASN1_STRING_get0_data(name->d.dNSName);
    const auto size = static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName));
    std::string dns(text, text + size);
    // "good.example\0.evil" must not be taken for its first part by anyone who prints it.
    if (dns.find('\0') == std::string::npos) out.push_back(std::move(dns));
  }
  return out;
}

std::vector<std::string> addresses(X509* certificate) {
  std::vector<std::string> out;
  const NamesPtr names = alternative_names(certificate);
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_IPADD) continue;
    const int size = ASN1_STRING_length(name->d.iPAddress);
    std::array<char, INET6_ADDRSTRLEN> text{};
    const int family = size == 4 ? AF_INET : AF_INET6;
    if ((size == 4 || size == 16) &&
        ::inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), text.data(), text.size()) != nullptr)
      out.emplace_back(text.data());
  }
  return out;
}

std::string one_line(const X509_NAME* name) {
  const BioPtr memory{BIO_new(BIO_s_mem())};
  if (!memory || X509_NAME_print_ex(memory.get(), name, 0, XN_FLAG_ONELINE & ~XN_FLAG_SPC_EQ) < 0) return {};
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string{};
}

std::string iso_time(const ASN1_TIME* time) {
  std::tm tm{};
  if (ASN1_TIME_to_tm(time, &tm) != 1) return "unknown";
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec);
}

Status check_dates(X509* certificate, const std::string& what, const std::string& fix) {
  const ASN1_TIME* not_before = X509_get0_notBefore(certificate);
  const ASN1_TIME* not_after = X509_get0_notAfter(certificate);
  if (X509_cmp_current_time(not_after) <= 0)
    return fail(Errc::denied, fmt::format("{} expired on {}", what, iso_time(not_after)), fix);
  if (X509_cmp_current_time(not_before) > 0)
    return fail(Errc::denied, fmt::format("{} is not valid before {}", what, iso_time(not_before)),
                "check the clock of this host");
  return {};
}

}  // namespace remus::link::ossl
