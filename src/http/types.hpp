// Requests, responses and who asks: plain values shared by server and clients.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace remus::http {

inline constexpr std::size_t body_bytes_max = std::size_t{1} << 20;
inline constexpr std::size_t header_bytes_max = std::size_t{16} << 10;

/// Who is at the other end, as told by the kernel (unix socket) or by a checked certificate (TLS).
struct PeerIdentity {
  enum class Kind { unix_socket, tls };
  Kind kind{Kind::unix_socket};
  uid_t uid{static_cast<uid_t>(-1)};  ///< unix only
  gid_t gid{static_cast<gid_t>(-1)};
  pid_t pid{0};
  std::string host{};                ///< TLS only: first DNS name of the certificate
  std::string fingerprint_sha256{};  ///< TLS only
  std::string address{};             ///< TLS only: "192.0.2.7:40312"
};

struct Request {
  std::string method{"GET"};
  std::string path{"/"};                         ///< percent-decoded, without the query
  std::map<std::string, std::string> query{};    ///< percent-decoded
  std::map<std::string, std::string> headers{};  ///< names in lower case
  std::string body{};
  PeerIdentity peer{};
};

struct Response {
  unsigned status{200};
  std::string body{};
  std::string content_type{"application/json"};
  std::map<std::string, std::string> headers{};  ///< further ones
};

/// The body every failed request gets: {"error": {"kind": "not-found", "what": "...", "fix": "..."}}.
[[nodiscard]] Response error_response(const Error& error);
/// The HTTP status that fits a kind: not_found 404, exists 409, denied 403, invalid 400, timeout 504, ...
[[nodiscard]] unsigned status_of(Errc kind) noexcept;
/// The error a response carries, for a client; a body that isn't ours gives its status as a sentence.
[[nodiscard]] Error error_of(const Response& response);

/// Percent-encodes all but unreserved characters.
[[nodiscard]] std::string url_encode(std::string_view text);
/// Splits and decodes "path?a=b". Errors: invalid (bad escape, NUL).
struct Target {
  std::string path{};
  std::map<std::string, std::string> query{};
};
[[nodiscard]] Result<Target> parse_target(std::string_view target);

}  // namespace remus::http
