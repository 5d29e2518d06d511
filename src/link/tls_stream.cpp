#include "link/tls_stream.hpp"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <boost/asio/error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <utility>

#include "link/connector.hpp"
#include "link/openssl.hpp"

namespace remus::link {
namespace {

namespace asio = boost::asio;

/// What may lie unsent in the kernel. More would only delay heartbeats; the kernel keeps what is in flight
/// besides.
constexpr int notsent_low_water_bytes = 128 * 1024;

const char* const enrol_fix = "issue a certificate of this cluster's CA for the peer: remus cert issue";

Error chain_error(int code, X509* certificate) {
  const std::string subject =
      certificate != nullptr ? ossl::one_line(X509_get_subject_name(certificate)) : "unknown";
  switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return {Errc::denied,
              fmt::format("the peer's certificate ({}) expired on {}", subject,
                          ossl::iso_time(X509_get0_notAfter(certificate))),
              "issue a new one: remus cert issue"};
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return {Errc::denied,
              fmt::format("the peer's certificate ({}) is not valid before {}", subject,
                          ossl::iso_time(X509_get0_notBefore(certificate))),
              "check the clocks of both hosts"};
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_CERT_CHAIN_TOO_LONG:
      return {
          Errc::denied,
          fmt::format("the peer is not enrolled: its certificate ({}) was not signed by this cluster's CA",
                      subject),
          enrol_fix};
    default:
      return {Errc::denied,
              fmt::format("the peer's certificate ({}) is not acceptable: {}", subject,
                          X509_verify_cert_error_string(code)),
              enrol_fix};
  }
}

/// What the peer told us by a TLS alert, or what OpenSSL found in its bytes.
std::optional<Error> reason_error(int reason, const std::string& remote) {
  const auto ours_refused = [&remote](std::string_view why, std::string fix) {
    return Error{Errc::denied, fmt::format("{} refused this host's certificate: {}", remote, why),
                 std::move(fix)};
  };
  switch (reason) {
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return ours_refused("it has expired or is not valid yet",
                          "check both clocks; issue a new one: remus cert issue");
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
      return ours_refused("it has been revoked", "issue a new one: remus cert issue");
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return ours_refused("it was not signed by its cluster's CA",
                          "issue both hosts' certificates with one CA");
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
      return ours_refused("it does not carry the expected host name, or is not acceptable",
                          "see the log of that host; check the names: remus cert show");
    case SSL_R_TLSV1_ALERT_INTERNAL_ERROR:
      return Error{Errc::denied, fmt::format("{} has trouble of its own and accepts nobody now", remote),
                   "see the log of that host"};
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return ours_refused("it got none", "issue one: remus cert issue");
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return Error{Errc::denied, fmt::format("{} showed no certificate: it is not enrolled", remote),
                   enrol_fix};
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
      return Error{Errc::incompatible, fmt::format("{} does not speak TLS 1.3", remote),
                   "run the same Remus release on both hosts"};
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_RECORD_LENGTH_MISMATCH:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_UNEXPECTED_MESSAGE:
      return Error{Errc::corrupt, fmt::format("what {} sent is not TLS", remote), "check address and port"};
    default: return std::nullopt;
  }
}

bool judge_peer(PeerCheck& check, Pki& pki, const std::string& expected_host, bool preverified,
                X509_STORE_CTX* store) {
  X509* certificate = X509_STORE_CTX_get_current_cert(store);
  if (!preverified) {
    if (!check.rejected) check.rejected = chain_error(X509_STORE_CTX_get_error(store), certificate);
    return false;
  }
  if (X509_STORE_CTX_get_error_depth(store) != 0) return true;
  auto peer = pki.judge(certificate, expected_host);
  if (peer) {
    check.peer = std::move(*peer);
    return true;
  }
  // A list of revoked certificates that cannot be read is our own trouble: the peer is not to be told that it
  // was revoked.
  const bool ours = peer.error().kind != Errc::denied;
  const bool revoked = peer.error().what.find("has been revoked") != std::string::npos;
  X509_STORE_CTX_set_error(store, ours      ? X509_V_ERR_UNSPECIFIED
                                  : revoked ? X509_V_ERR_CERT_REVOKED
                                            : X509_V_ERR_HOSTNAME_MISMATCH);
  check.rejected = std::move(peer.error());
  return false;
}

}  // namespace

std::shared_ptr<PeerCheck> install_peer_check(TlsStream& stream, std::shared_ptr<Pki> pki,
                                              std::string expected_host) {
  auto check = std::make_shared<PeerCheck>();
  stream.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
  stream.set_verify_callback([check, pki = std::move(pki), expected = std::move(expected_host)](
                                 bool preverified, asio::ssl::verify_context& context) {
    return judge_peer(*check, *pki, expected, preverified, context.native_handle());
  });
  return check;
}

Error explain_tls(const boost::system::error_code& code, const PeerCheck* check, const std::string& remote) {
  if (check != nullptr && check->rejected)
    return Error{check->rejected->kind, fmt::format("{}: {}", remote, check->rejected->what),
                 check->rejected->fix};
  if (code.category() == asio::error::get_ssl_category())
    if (auto known = reason_error(ERR_GET_REASON(static_cast<unsigned long>(code.value())), remote))
      return *known;
  if (code == asio::error::eof || code == asio::ssl::error::stream_truncated)
    return {Errc::unreachable, fmt::format("{} closed the connection without a word", remote), ""};
  const bool tls = code.category() == asio::error::get_ssl_category() ||
                   code.category() == asio::ssl::error::get_stream_category();
  return {tls ? Errc::corrupt : Errc::unreachable,
          fmt::format("connection with {} broke: {}", remote, code.message()), ""};
}

bool is_clean_end(const boost::system::error_code& code) {
  return code == asio::error::eof;
}

std::string remote_text(const asio::ip::tcp::socket& socket) {
  boost::system::error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return "unknown";
  return Address{endpoint.address().to_string(), endpoint.port()}.text();
}

void tune_socket(asio::ip::tcp::socket& socket, std::chrono::milliseconds user_timeout) {
  boost::system::error_code ignored;
  socket.set_option(asio::ip::tcp::no_delay{true}, ignored);
  const auto timeout_ms = static_cast<unsigned int>(user_timeout.count());
  // Send and receive buffers are left to the kernel's own sizing, which follows the path's delay × bandwidth.
  static_cast<void>(
      ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms));
  static_cast<void>(::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT,
                                 &notsent_low_water_bytes, sizeof notsent_low_water_bytes));
}

}  // namespace remus::link
