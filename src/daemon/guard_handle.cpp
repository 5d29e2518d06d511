#include "daemon/guard_handle.hpp"

#include <fmt/format.h>

#include <utility>

namespace remus::daemon {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

GuardHandle::GuardHandle(boost::asio::io_context& io, std::filesystem::path socket, Handlers handlers)
    : io_{io},
      socket_{std::move(socket)},
      handlers_{std::move(handlers)},
      client_{io, http::UnixEndpoint{socket_}} {}

GuardHandle::~GuardHandle() = default;

Result<std::shared_ptr<GuardHandle>> GuardHandle::open(boost::asio::io_context& io,
                                                       std::filesystem::path socket, pid_t pid,
                                                       std::uint64_t ticks, Handlers handlers) {
  std::shared_ptr<GuardHandle> handle{new GuardHandle{io, std::move(socket), std::move(handlers)}};
  auto watch = ProcessWatch::open(io, pid, ticks, [weak = std::weak_ptr{handle}] {
    if (const auto self = weak.lock()) self->ended();
  });
  if (!watch) return std::unexpected(watch.error());
  handle->started_ = std::move(*watch);
  return handle;
}

void GuardHandle::run() {
  start(io_, poll());
}

void GuardHandle::close() {
  closed_ = true;
  handlers_ = {};
}

bool GuardHandle::exists() const noexcept {
  return started_->alive() || (guard_ && guard_->alive());
}
bool GuardHandle::guard_exists() const noexcept {
  return guard_ ? guard_->alive() : started_->alive();
}

milliseconds GuardHandle::status_age() const noexcept {
  if (!status_) return milliseconds::max();
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - status_time_);
}

void GuardHandle::ended() {
  if (exists()) return;
  if (auto on_exit = std::exchange(handlers_.on_exit, nullptr))
    on_exit(started_->end().empty() ? std::string{"its process is gone"} : started_->end());
}

void GuardHandle::accept(guard::GuardStatus status) {
  if (status.pid != 0 && static_cast<pid_t>(status.pid) != started_->pid() &&
      (!guard_ || guard_->pid() != static_cast<pid_t>(status.pid))) {
    auto watch = ProcessWatch::open(io_, static_cast<pid_t>(status.pid), 0, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->ended();
    });
    if (watch) guard_ = std::move(*watch);
  }
  status_ = std::move(status);
  status_time_ = steady_clock::now();
  // A copy: the handler may close this handle.
  if (const auto on_status = handlers_.on_status) on_status(*status_);
}

Task<Result<guard::GuardStatus>> GuardHandle::refresh() {
  const auto self = shared_from_this();
  http::Call question{"GET", "/v1/status", {}};
  auto answer = co_await ask(client_, std::move(question), poll_timeout);
  if (!answer) co_return std::unexpected(answer.error());
  auto status = guard::status_from_json(*answer);
  if (!status) co_return status;
  accept(*status);
  if (status->last_event > events_seen_) co_await fetch_events();
  co_return status;
}

Task<void> GuardHandle::poll() {
  const auto self = shared_from_this();
  while (!closed_ && exists()) {
    auto status = co_await refresh();
    // One that does not answer now is asked again; how old its last word is, status_age() tells.
    static_cast<void>(status);
    co_await sleep_for(poll_interval);
  }
}

Task<void> GuardHandle::fetch_events() {
  http::Call question{"GET", fmt::format("/v1/events?after={}", events_seen_), {}};
  auto answer = co_await ask(client_, std::move(question), poll_timeout);
  if (!answer || !answer->is_object() || !answer->contains("events")) co_return;
  for (const auto& value : (*answer)["events"]) {
    auto event = guard::event_from_json(value);
    if (!event || event->sequence <= events_seen_) continue;
    events_seen_ = event->sequence;
    if (const auto on_event = handlers_.on_event) on_event(*event);
  }
}

Task<Result<nlohmann::json>> GuardHandle::call(std::string method, std::string target, nlohmann::json body,
                                               milliseconds timeout) {
  http::Call call{std::move(method), std::move(target), body.is_null() ? std::string{} : body.dump()};
  http::Endpoint endpoint{http::UnixEndpoint{socket_}};
  co_return co_await ask_once(io_, std::move(endpoint), std::move(call), timeout);
}

Task<bool> GuardHandle::wait_for_exit(milliseconds limit) {
  const auto self = shared_from_this();
  const auto until = steady_clock::now() + limit;
  while (exists()) {
    if (steady_clock::now() >= until) co_return false;
    co_await sleep_for(milliseconds{20});
  }
  co_return true;
}

}  // namespace remus::daemon
