// From an endpoint to a stream that can be talked on. One attempt, one answer. Private to the room.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>

#include "http/any_stream.hpp"
#include "http/client.hpp"
#include "link/dial.hpp"

namespace remus::http {

class StreamOpener final : public std::enable_shared_from_this<StreamOpener> {
 public:
  using Callback = std::function<void(Result<std::unique_ptr<AnyStream>>)>;

  /// `callback` is called exactly once, later, unless cancel() comes first.
  static std::shared_ptr<StreamOpener> start(boost::asio::io_context& io, const Endpoint& endpoint,
                                             std::chrono::milliseconds timeout, Callback callback);
  StreamOpener(boost::asio::io_context& io, Callback callback);
  void cancel();

 private:
  void open(boost::asio::io_context& io, const UnixEndpoint& endpoint, std::chrono::milliseconds timeout);
  void open(boost::asio::io_context& io, const TlsEndpoint& endpoint, std::chrono::milliseconds timeout);
  void done(Result<std::unique_ptr<AnyStream>> result);

  Callback callback_;
  AnyStream::UnixSocket socket_;
  std::shared_ptr<link::Dial> dial_{};
};

/// "/run/remus/remusd.sock" or "host-b:7410", for sentences.
[[nodiscard]] std::string to_text(const Endpoint& endpoint);

}  // namespace remus::http
