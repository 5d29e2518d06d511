// A TLS stream whose peer is checked against our PKI, and its failures put into words.
//
// Includes Boost.Asio: for .cpp files of link and http only.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "link/tls.hpp"

namespace remus::link {

using TlsStream = boost::asio::ssl::stream<boost::asio::ip::tcp::socket>;

/// What the handshake found out about the peer.
struct PeerCheck {
  std::optional<PeerCertificate> peer{};
  std::optional<Error> rejected{};  ///< why we did not accept its certificate
};

/// Makes the coming handshake judge the peer's certificate by `pki`. A peer that is not enrolled, revoked, or
/// not `expected_host` fails the handshake, with the alert that fits.
[[nodiscard]] std::shared_ptr<PeerCheck> install_peer_check(TlsStream& stream, std::shared_ptr<Pki> pki,
                                                            std::string expected_host);

/// Why a TLS handshake, or what followed it, failed. The kind is denied when certificates are the reason,
/// incompatible for TLS versions, corrupt for bytes that are no TLS, unreachable for a cut.
[[nodiscard]] Error explain_tls(const boost::system::error_code& code, const PeerCheck* check,
                                const std::string& remote);

/// True if the peer ended the stream by TLS's own close: nothing was cut off.
[[nodiscard]] bool is_clean_end(const boost::system::error_code& code);

/// "192.0.2.7:7411", "[2001:db8::7]:7411"; "unknown" if the socket has no peer (any more).
[[nodiscard]] std::string remote_text(const boost::asio::ip::tcp::socket& socket);

/// Sets what both ends of a link want: no Nagle, an end to unanswered data, little unsent data in the kernel.
/// Options a kernel does not have are left as they are.
void tune_socket(boost::asio::ip::tcp::socket& socket, std::chrono::milliseconds user_timeout);

}  // namespace remus::link
