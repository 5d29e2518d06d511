// What the control sockets of both sides answer alike (docs/guard-api.md).
#pragma once

#include <cstdint>
#include <cstdlib>

#include "guard/api.hpp"
#include "guard/event_log.hpp"
#include "guard/request_body.hpp"
#include "http/server.hpp"

namespace remus::guard {

/// GET /v1/status and /v1/events. False: something else was asked, and nothing is answered yet.
template <typename StatusOf>
[[nodiscard]] bool serve_looking(const http::Request& request, const http::Responder& responder,
                                 const EventLog& events, StatusOf status) {
  if (request.method != "GET") return false;
  if (request.path == "/v1/status") {
    responder.reply({200, to_json(status()).dump()});
  } else if (request.path == "/v1/events") {
    const auto after = request.query.find("after");
    const auto number = after == request.query.end() ? 0 : std::strtoull(after->second.c_str(), nullptr, 10);
    responder.reply({200, events.after(number).dump()});
  } else {
    return false;
  }
  return true;
}

/// The options POST /v1/adjust asks for; whatever is wrong with them, nothing has changed.
[[nodiscard]] inline Result<GuestOptions> adjusted(const http::Request& request, const GuestOptions& now) {
  const auto body = body_of(request);
  if (!body) return std::unexpected(body.error());
  auto options = options_from_json(*body, now);  // validates
  if (!options) return options;
  if (const Status may = changeable(now, *options); !may) return std::unexpected(may.error());
  return options;
}

}  // namespace remus::guard
