// Requests and responses between our plain values and Boost.Beast's messages. Private to the room.
#pragma once

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/system/error_code.hpp>
#include <string>

#include "base/error.hpp"
#include "http/client.hpp"

namespace remus::http {

[[nodiscard]] boost::beast::http::request<boost::beast::http::string_body> make_request(
    const Call& call, const Endpoint& endpoint);
[[nodiscard]] Response to_response(boost::beast::http::response<boost::beast::http::string_body> message);
/// Why an exchange with `whom` broke.
[[nodiscard]] Error explain(const boost::system::error_code& error, const std::string& whom);

}  // namespace remus::http
