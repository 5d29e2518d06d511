// The JSON object in the body of a request to a guard's control socket.
#pragma once

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/json.hpp"
#include "http/types.hpp"

namespace remus::guard {

/// An empty body is an empty object. Errors: invalid.
[[nodiscard]] inline Result<nlohmann::json> body_of(const http::Request& request) {
  if (request.body.empty()) return nlohmann::json::object();
  auto json = parse_json(request.body);
  if (!json.is_object()) return fail(Errc::invalid, "the request's body is not a JSON object");
  return json;
}

}  // namespace remus::guard
