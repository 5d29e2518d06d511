// From method and path to a handler: "/v1/guests/{name}/verify" hands the handler the name.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/task.hpp"
#include "http/server.hpp"

namespace remus::daemon {

/// A request with the parts of its path that stood for a {name}, in order, and its body as JSON (object; {}
/// if empty).
struct Routed {
  http::Request request{};
  std::vector<std::string> names{};
  nlohmann::json body{};
};

class Router final {
 public:
  using JsonHandler = std::function<Task<Result<nlohmann::json>>(Routed)>;
  using RawHandler = std::function<void(Routed, http::Responder)>;

  /// The handler's JSON is the answer, with status 200.
  void json(std::string method, std::string_view path, JsonHandler handler);
  /// The handler answers by itself: streams, text.
  void raw(std::string method, std::string_view path, RawHandler handler);

  /// Unknown path: 404; known path with another method: 405 naming those allowed; body not JSON: 400.
  void handle(boost::asio::io_context& io, http::Request request, http::Responder responder) const;

  /// "GET /v1/guests/{name}", for the test that compares them with the OpenAPI document.
  [[nodiscard]] std::vector<std::string> listing() const;

 private:
  struct Route {
    std::string method{};
    std::string path{};
    std::vector<std::string> parts{};
    JsonHandler json{};
    RawHandler raw{};
  };
  std::vector<Route> routes_{};
};

}  // namespace remus::daemon
