// OpenSSL's objects, owned; its errors and certificates, put into words. Private to the room.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace remus::link::ossl {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};

using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using CertPtr = std::unique_ptr<X509, Deleter<X509_free>>;
using SslCtxPtr = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;

/// The newest entry of OpenSSL's error queue in words; empties the queue.
[[nodiscard]] std::string take_error();

/// The first certificate in a PEM file, or its private key. Errors: not_found, denied (permission), corrupt.
[[nodiscard]] Result<CertPtr> read_certificate(const std::filesystem::path& file);
[[nodiscard]] Result<KeyPtr> read_key(const std::filesystem::path& file);

/// 64 hex digits, lower case. Empty if OpenSSL has no memory.
[[nodiscard]] std::string fingerprint_sha256(X509* certificate);
[[nodiscard]] std::vector<std::string> dns_names(X509* certificate);
[[nodiscard]] std::vector<std::string> addresses(X509* certificate);
/// Subject or issuer on one line: "CN=host-a, O=Remus".
[[nodiscard]] std::string one_line(const X509_NAME* name);
/// "2026-03-01T12:00:00Z"
[[nodiscard]] std::string iso_time(const ASN1_TIME* time);

/// Nothing if the certificate is valid now; else a sentence about `what` ("certificate of host-a"). `fix` as
/// given.
[[nodiscard]] Status check_dates(X509* certificate, const std::string& what, const std::string& fix);

}  // namespace remus::link::ossl
