// The daemon's flows (protect, restart of a guard, ...) wait for several answers one after the other and undo
// what was done when one fails. As coroutines on the one main thread they read from top to bottom and need no
// locks.
//
// Named locals go into co_await, not temporaries: GCC 12 destroys some temporaries of a co_await expression
// twice.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "http/client.hpp"

namespace remus::daemon {

template <typename T>
using Task = boost::asio::awaitable<T>;

/// Runs the task by itself. What it throws ends the daemon: a fault of ours (guards go on, systemd starts us
/// again).
void start(boost::asio::io_context& io, Task<void> task);

/// co_return pass_on(x.error()): what failed below failed here.
[[nodiscard]] inline std::unexpected<Error> pass_on(Error error) {
  return std::unexpected(std::move(error));
}

[[nodiscard]] Task<void> sleep_for(std::chrono::milliseconds duration);

/// One request, and what was answered, whatever it says; an error means that nobody answered.
[[nodiscard]] Task<Result<http::Response>> request(http::AsyncClient& client, http::Call call,
                                                   std::chrono::milliseconds timeout);
/// The same over a connection of its own, for requests that take long and must not hold up others.
[[nodiscard]] Task<Result<http::Response>> request_once(boost::asio::io_context& io, http::Endpoint endpoint,
                                                        http::Call call, std::chrono::milliseconds timeout);

/// A status that tells of failure becomes its error; else the answer's JSON, or null for an empty body.
[[nodiscard]] Result<nlohmann::json> read_answer(const Result<http::Response>& response,
                                                 const std::string& target);

/// One request and its answer read; a status that tells of failure becomes its error. The answer's JSON, or
/// null for an empty body.
[[nodiscard]] Task<Result<nlohmann::json>> ask(http::AsyncClient& client, http::Call call,
                                               std::chrono::milliseconds timeout);

/// The same over a connection of its own.
[[nodiscard]] Task<Result<nlohmann::json>> ask_once(boost::asio::io_context& io, http::Endpoint endpoint,
                                                    http::Call call, std::chrono::milliseconds timeout);

}  // namespace remus::daemon
