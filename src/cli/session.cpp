#include "cli/session.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <tuple>
#include <utility>

#include "guard/api.hpp"

namespace remus::cli {

Session::Session(const Arguments& arguments)
    : socket_{arguments.socket},
      client_{http::UnixEndpoint{socket_}},
      json_{arguments.json},
      terminal_{::isatty(STDOUT_FILENO) == 1},
      style_{Style::for_output(STDOUT_FILENO)} {}

Result<nlohmann::json> Session::ask(const std::string& method, const std::string& target,
                                    const nlohmann::json& body, std::chrono::milliseconds timeout) {
  const http::Call call{method, target, body.is_null() ? std::string{} : body.dump()};
  auto response = client_.request(call, timeout);
  if (!response) return std::unexpected(response.error());
  if (response->status >= 400) return std::unexpected(http::error_of(*response));
  auto value = nlohmann::json::parse(response->body, nullptr, false);
  if (value.is_discarded())
    return fail(Errc::corrupt, fmt::format("remusd's answer to {} is not JSON", target));
  return value;
}

void Session::print(const nlohmann::json& document, const std::string& text) const {
  fmt::print("{}",
             json_ ? document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n" : text);
  std::ignore = std::fflush(stdout);
}

int Session::failed(const Error& error) const {
  if (json_)
    fmt::print("{}\n", guard::to_json(error).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  const auto style = Style::for_output(STDERR_FILENO);
  fmt::print(stderr, "{} {}\n", style.bad("remus:"), error.what);
  if (!error.fix.empty()) fmt::print(stderr, "       {}\n", error.fix);
  return exit_status(error.kind);
}

std::string guest_path(const std::string& name, const char* rest) {
  return "/v1/guests/" + http::url_encode(name) + rest;
}

}  // namespace remus::cli
