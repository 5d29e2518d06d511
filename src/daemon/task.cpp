#include "daemon/task.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.hpp"

namespace remus::daemon {
namespace asio = boost::asio;

Task<Result<http::Response>> request(http::AsyncClient& client, http::Call call,
                                     std::chrono::milliseconds timeout) {
  auto begin = [&client, &call, timeout](auto handler) {
    // std::function wants a copyable callable; an asio handler is only movable.
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    client.request(std::move(call), timeout,
                   [shared](Result<http::Response> response) { std::move (*shared)(std::move(response)); });
  };
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>&, void(Result<http::Response>)>(
      std::move(begin), asio::use_awaitable);
}

Task<Result<http::Response>> request_once(asio::io_context& io, http::Endpoint endpoint, http::Call call,
                                          std::chrono::milliseconds timeout) {
  http::AsyncClient client{io, std::move(endpoint)};
  co_return co_await request(client, std::move(call), timeout);
}

Result<nlohmann::json> read_answer(const Result<http::Response>& response, const std::string& target) {
  if (!response) return std::unexpected(response.error());
  if (response->status >= 400) return std::unexpected(http::error_of(*response));
  if (response->body.empty()) return nlohmann::json{};
  auto value = parse_json(response->body);
  if (value.is_discarded()) return fail(Errc::corrupt, "the answer to " + target + " is not JSON");
  return value;
}

void start(asio::io_context& io, Task<void> task) {
  asio::co_spawn(io, std::move(task), [](const std::exception_ptr& problem) {
    if (problem) std::rethrow_exception(problem);
  });
}

Task<void> sleep_for(std::chrono::milliseconds duration) {
  asio::steady_timer timer{co_await asio::this_coro::executor, duration};
  co_await timer.async_wait(asio::use_awaitable);
}

Task<Result<nlohmann::json>> ask(http::AsyncClient& client, http::Call call,
                                 std::chrono::milliseconds timeout) {
  const std::string target = call.target;
  co_return read_answer(co_await request(client, std::move(call), timeout), target);
}

Task<Result<nlohmann::json>> ask_once(asio::io_context& io, http::Endpoint endpoint, http::Call call,
                                      std::chrono::milliseconds timeout) {
  const std::string target = call.target;
  co_return read_answer(co_await request_once(io, std::move(endpoint), std::move(call), timeout), target);
}

}  // namespace remus::daemon
