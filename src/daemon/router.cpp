#include "daemon/router.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <exception>
#include <utility>

#include "base/json.hpp"

namespace remus::daemon {
namespace {

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    path.remove_prefix(1);  // '/'
    const auto end = path.find('/');
    parts.emplace_back(path.substr(0, end));
    path = end == std::string_view::npos ? std::string_view{} : path.substr(end);
  }
  return parts;
}

bool match(const std::vector<std::string>& pattern, const std::vector<std::string>& parts,
           std::vector<std::string>& names) {
  if (pattern.size() != parts.size()) return false;
  names.clear();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (pattern[i].starts_with('{'))
      names.push_back(parts[i]);
    else if (pattern[i] != parts[i])
      return false;
  }
  return true;
}

Task<void> answer(Router::JsonHandler handler, Routed routed, http::Responder responder) {
  const std::string path = routed.request.path;
  try {
    auto result = co_await handler(std::move(routed));
    if (!result) {
      responder.fail(result.error());
      co_return;
    }
    http::Response response;
    response.body = result->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    responder.reply(std::move(response));
  } catch (const std::exception& problem) {
    spdlog::error("{}: {}", path, problem.what());
    responder.fail(Error{Errc::internal, fmt::format("a fault of remusd at {}: {}", path, problem.what()),
                         "please report it"});
  }
}

}  // namespace

void Router::json(std::string method, std::string_view path, JsonHandler handler) {
  routes_.push_back({std::move(method), std::string{path}, split(path), std::move(handler), {}});
}

void Router::raw(std::string method, std::string_view path, RawHandler handler) {
  routes_.push_back({std::move(method), std::string{path}, split(path), {}, std::move(handler)});
}

void Router::handle(boost::asio::io_context& io, http::Request request, http::Responder responder) const {
  Routed routed{std::move(request), {}, nlohmann::json::object()};
  const auto parts = split(routed.request.path);
  std::string allowed;
  for (const auto& route : routes_) {
    if (!match(route.parts, parts, routed.names)) continue;
    if (route.method != routed.request.method) {
      allowed += (allowed.empty() ? "" : ", ") + route.method;
      continue;
    }
    if (!routed.request.body.empty()) {
      routed.body = parse_json(routed.request.body);
      if (!routed.body.is_object())
        return responder.fail(Error{Errc::invalid, "the request's body is not a JSON object", {}});
    }
    if (route.raw) return route.raw(std::move(routed), std::move(responder));
    return start(io, answer(route.json, std::move(routed), std::move(responder)));
  }
  if (!allowed.empty()) {
    auto response = http::error_response(
        Error{Errc::invalid, fmt::format("{} is not for {}", routed.request.path, routed.request.method),
              fmt::format("allowed: {}", allowed)});
    response.status = 405;
    response.headers["Allow"] = allowed;
    return responder.reply(std::move(response));
  }
  responder.fail(Error{Errc::not_found, fmt::format("no such path: {}", routed.request.path), {}});
}

std::vector<std::string> Router::listing() const {
  std::vector<std::string> out;
  out.reserve(routes_.size());
  for (const auto& route : routes_) out.push_back(route.method + " " + route.path);
  return out;
}

}  // namespace remus::daemon
