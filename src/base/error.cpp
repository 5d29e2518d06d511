#include "base/error.hpp"

#include <fmt/format.h>

#include <system_error>

namespace remus {

std::string_view to_string(Errc kind) noexcept {
  switch (kind) {
    case Errc::invalid: return "invalid";
    case Errc::not_found: return "not-found";
    case Errc::exists: return "exists";
    case Errc::refused: return "refused";
    case Errc::unsupported: return "unsupported";
    case Errc::incompatible: return "incompatible";
    case Errc::unreachable: return "unreachable";
    case Errc::denied: return "denied";
    case Errc::exhausted: return "exhausted";
    case Errc::corrupt: return "corrupt";
    case Errc::io: return "io";
    case Errc::timeout: return "timeout";
    case Errc::closed: return "closed";
    case Errc::internal: return "internal";
  }
  return "unknown";
}

Error Error::in(std::string_view context) const {
  return Error{kind, fmt::format("{}: {}", context, what), fix};
}

std::string Error::text() const {
  return fix.empty() ? what : fmt::format("{}; {}", what, fix);
}

std::unexpected<Error> fail_errno(int code, std::string_view what, std::string fix) {
  return fail(Errc::io, fmt::format("{}: {}", what, std::generic_category().message(code)), std::move(fix));
}

}  // namespace remus
