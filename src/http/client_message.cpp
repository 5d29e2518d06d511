#include "http/client_message.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/beast/http/error.hpp>
#include <cctype>
#include <string_view>
#include <utility>

#include "link/tls_stream.hpp"

namespace remus::http {

namespace bhttp = boost::beast::http;

bhttp::request<bhttp::string_body> make_request(const Call& call, const Endpoint& endpoint) {
  bhttp::request<bhttp::string_body> request;
  request.version(11);
  request.method_string(call.method);
  request.target(call.target);
  const auto* remote = std::get_if<TlsEndpoint>(&endpoint);
  request.set(bhttp::field::host, remote != nullptr ? remote->address.text() : "localhost");
  request.set(bhttp::field::user_agent, "Remus/" REMUS_VERSION);
  request.set(bhttp::field::accept, "*/*");
  if (!call.body.empty()) request.set(bhttp::field::content_type, "application/json");
  request.body() = call.body;
  request.prepare_payload();
  return request;
}

Response to_response(bhttp::response<bhttp::string_body> message) {
  Response out;
  out.status = message.result_int();
  out.content_type = std::string{message[bhttp::field::content_type]};
  for (const auto& field : message) {
    std::string name{field.name_string()};
    std::ranges::transform(name, name.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    out.headers[std::move(name)] = std::string{field.value()};
  }
  out.body = std::move(message.body());
  return out;
}

Error explain(const boost::system::error_code& error, const std::string& whom) {
  if (error == bhttp::error::end_of_stream || error == bhttp::error::partial_message ||
      error == boost::asio::error::eof || error == boost::asio::error::connection_reset ||
      error == boost::asio::error::broken_pipe)
    return {Errc::closed, fmt::format("{} closed the connection before its answer was whole", whom), ""};
  if (error == bhttp::error::body_limit)
    return {Errc::corrupt, fmt::format("the answer of {} is too large", whom), ""};
  if (error.category() == bhttp::make_error_code(bhttp::error::bad_method).category())
    return {Errc::corrupt, fmt::format("the answer of {} is not HTTP: {}", whom, error.message()), ""};
  return link::explain_tls(error, nullptr, whom);
}

}  // namespace remus::http
