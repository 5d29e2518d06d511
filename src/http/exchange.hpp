// One answer on its way from whoever gives it, on any thread, to the session that sends it. Private to the
// room.
//
//   handler's thread                          server's thread
//   Responder::reply ───post───▶  Exchange::answer ──wake──▶ session writes the response
//   Stream::write    ───post───▶  Exchange::chunks ──wake──▶ session writes a chunk
//
// Everything in Exchange is touched on the server's thread only; what other threads may ask at once is
// atomic, and kept in Shared.
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "http/server.hpp"

namespace remus::http {

struct Exchange final {
  struct Shared {
    std::atomic<bool> answered{false};    ///< reply() or stream() was called
    std::atomic<bool> stream_open{true};  ///< the reader is there and keeps up
    std::atomic<std::size_t> queued_bytes{0};
    std::size_t queue_bytes_max{0};
  };

  /// `looks` is called on the server's thread whenever there is something new.
  Exchange(std::function<void()> looks, std::size_t queue_bytes_max) : wake{std::move(looks)} {
    shared->queue_bytes_max = queue_bytes_max;
  }

  /// The reader is gone. Calls on_closed, unless the stream was finished.
  void reader_gone() {
    if (std::exchange(gone, true)) return;
    shared->stream_open = false;
    if (const auto callback = std::exchange(closed_callback, nullptr); callback && !finished) callback();
    wake();
  }

  std::function<void()> wake;
  std::shared_ptr<Shared> shared{std::make_shared<Shared>()};
  std::optional<Response> response{};
  std::optional<std::string> stream_type{};
  std::deque<std::string> chunks{};
  bool finished{false};
  bool gone{false};
  std::function<void()> closed_callback{};
};

struct Responder::Impl final {
  Impl(boost::asio::any_io_executor own_executor, const std::shared_ptr<Exchange>& own_exchange)
      : executor{std::move(own_executor)}, exchange{own_exchange}, shared{own_exchange->shared} {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  void reply(Response response);

  boost::asio::any_io_executor executor;
  std::weak_ptr<Exchange> exchange;
  std::shared_ptr<Exchange::Shared> shared;
};

struct Stream::Impl final {
  Impl(boost::asio::any_io_executor own_executor, std::weak_ptr<Exchange> own_exchange,
       std::shared_ptr<Exchange::Shared> own_shared)
      : executor{std::move(own_executor)}, exchange{std::move(own_exchange)}, shared{std::move(own_shared)} {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { finish(); }

  void finish();

  boost::asio::any_io_executor executor;
  std::weak_ptr<Exchange> exchange;
  std::shared_ptr<Exchange::Shared> shared;
  std::atomic<bool> finished{false};
};

}  // namespace remus::http
