// What went wrong, on what, and what to do about it.
//
// Functions that can fail because of the world (a socket, a file, a peer, a user's word) return Result<T>.
// Exceptions are for programming errors only. The kind is what a caller can sensibly react to; the sentence is
// for the person who reads it.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace remus {

/// What a caller can react to. `remus` maps each kind to an exit code (docs/man/remus.1).
enum class Errc {
  invalid,       ///< the request, configuration or argument is not well-formed
  not_found,     ///< no such guest, host, file, socket
  exists,        ///< the name is taken, the guest is protected already
  refused,       ///< well-formed, but this guest or host cannot be served; nothing was touched
  unsupported,   ///< this hypervisor, kernel or version lacks what is needed
  incompatible,  ///< the two sides differ in version, machine or configuration
  unreachable,   ///< the peer or the hypervisor does not answer
  denied,        ///< not enrolled, wrong or expired certificate, arbiter said no
  exhausted,     ///< out of memory, disk or another bounded resource
  corrupt,       ///< data failed its integrity check or could not be parsed
  io,            ///< the operating system reported an error
  timeout,       ///< no answer within the bound
  closed,        ///< the peer went away in good order
  internal,      ///< a fault of ours
};

[[nodiscard]] std::string_view to_string(Errc kind) noexcept;

/// An error a person can act on.
struct Error {
  Errc kind{Errc::internal};
  std::string
      what{};  ///< what failed and on what: "cannot connect to QMP socket /run/x.sock: Connection refused"
  std::string fix{};  ///< what to do about it; may be empty

  /// The same error seen from a caller: "protecting web1: <what>".
  [[nodiscard]] Error in(std::string_view context) const;
  /// One line: "<what>; <fix>".
  [[nodiscard]] std::string text() const;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

[[nodiscard]] inline std::unexpected<Error> fail(Errc kind, std::string what, std::string fix = {}) {
  return std::unexpected(Error{kind, std::move(what), std::move(fix)});
}

/// An Errc::io error that names the operation, its object and errno's text. `code` is an errno value.
[[nodiscard]] std::unexpected<Error> fail_errno(int code, std::string_view what, std::string fix = {});

}  // namespace remus
