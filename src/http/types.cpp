#include "http/types.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/json.hpp"

namespace remus::http {
namespace {

constexpr Errc all_kinds[] = {Errc::invalid,     Errc::not_found,    Errc::exists,      Errc::refused,
                              Errc::unsupported, Errc::incompatible, Errc::unreachable, Errc::denied,
                              Errc::exhausted,   Errc::corrupt,      Errc::io,          Errc::timeout,
                              Errc::closed,      Errc::internal};

Errc kind_of_status(unsigned status) noexcept {
  switch (status) {
    case 400:
    case 405:
    case 411:
    case 413:
    case 414:
    case 415:
    case 431: return Errc::invalid;
    case 401:
    case 403: return Errc::denied;
    case 404: return Errc::not_found;
    case 408:
    case 504: return Errc::timeout;
    case 409: return Errc::exists;
    case 422: return Errc::refused;
    case 501: return Errc::unsupported;
    case 502: return Errc::unreachable;
    case 429:
    case 503:
    case 507: return Errc::exhausted;
    default: return Errc::internal;
  }
}

[[nodiscard]] int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

[[nodiscard]] Result<std::string> url_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0)
        return fail(Errc::invalid,
                    fmt::format("the request's target has a bad percent escape at byte {}", i));
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    if (c == '\0') return fail(Errc::invalid, "the request's target holds a NUL byte");
    out += c;
  }
  return out;
}

}  // namespace

unsigned status_of(Errc kind) noexcept {
  switch (kind) {
    case Errc::invalid: return 400;
    case Errc::not_found: return 404;
    case Errc::exists: return 409;
    case Errc::refused: return 422;
    case Errc::unsupported: return 501;
    case Errc::incompatible: return 409;
    case Errc::unreachable: return 502;
    case Errc::denied: return 403;
    case Errc::exhausted: return 503;
    case Errc::corrupt: return 502;
    case Errc::io: return 500;
    case Errc::timeout: return 504;
    case Errc::closed: return 502;
    case Errc::internal: return 500;
  }
  return 500;
}

Response error_response(const Error& error) {
  const nlohmann::json body{
      {"error", {{"kind", std::string{to_string(error.kind)}}, {"what", error.what}, {"fix", error.fix}}}};
  // Sentences may quote what a stranger sent: bytes that are not UTF-8 are replaced rather than thrown over.
  return Response{status_of(error.kind),
                  body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
                  "application/json",
                  {}};
}

Error error_of(const Response& response) {
  const auto json = parse_json(response.body);
  if (json.is_object() && json.contains("error") && json["error"].is_object()) {
    const auto& error = json["error"];
    const auto text = [&error](const char* key) {
      const auto it = error.find(key);
      return it != error.end() && it->is_string() ? it->get<std::string>() : std::string{};
    };
    Error out{kind_of_status(response.status), text("what"), text("fix")};
    const std::string kind = text("kind");
    for (const Errc candidate : all_kinds)
      if (to_string(candidate) == kind) out.kind = candidate;
    if (!out.what.empty()) return out;
  }
  return Error{kind_of_status(response.status),
               fmt::format("the server answered with HTTP status {}", response.status), ""};
}

std::string url_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                            c == '-' || c == '.' || c == '_' || c == '~';
    if (unreserved)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

Result<Target> parse_target(std::string_view target) {
  Target out;
  target = target.substr(0, target.find('#'));
  const auto question = target.find('?');
  auto path = url_decode(target.substr(0, question), false);
  if (!path) return std::unexpected(path.error());
  if (path->empty() || path->front() != '/')
    return fail(Errc::invalid, "the request's target is not a path beginning with '/'");
  out.path = std::move(*path);
  std::string_view rest =
      question == std::string_view::npos ? std::string_view{} : target.substr(question + 1);
  while (!rest.empty()) {
    const auto ampersand = rest.find('&');
    const std::string_view item = rest.substr(0, ampersand);
    rest = ampersand == std::string_view::npos ? std::string_view{} : rest.substr(ampersand + 1);
    if (item.empty()) continue;
    const auto equals = item.find('=');
    auto key = url_decode(item.substr(0, equals), true);
    auto value =
        url_decode(equals == std::string_view::npos ? std::string_view{} : item.substr(equals + 1), true);
    if (!key) return std::unexpected(key.error());
    if (!value) return std::unexpected(value.error());
    out.query[std::move(*key)] = std::move(*value);
  }
  return out;
}

}  // namespace remus::http
