#include "http/exchange.hpp"

#include <boost/asio/post.hpp>
#include <utility>

namespace remus::http {

namespace asio = boost::asio;

Responder::Impl::~Impl() {
  if (!shared->answered)
    reply(error_response(
        {Errc::internal, "the request was dropped without an answer", "see the log of the server"}));
}

void Responder::Impl::reply(Response response) {
  if (shared->answered.exchange(true)) return;
  asio::post(executor, [weak = exchange, response = std::move(response)]() mutable {
    if (const auto target = weak.lock()) {
      target->response = std::move(response);
      target->wake();
    }
  });
}

Responder::Responder(std::shared_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
void Responder::reply(Response response) const {
  impl_->reply(std::move(response));
}
void Responder::fail(const Error& error) const {
  impl_->reply(error_response(error));
}

Stream Responder::stream(const std::string& content_type) const {
  auto stream = std::make_shared<Stream::Impl>(impl_->executor, impl_->exchange, impl_->shared);
  if (impl_->shared->answered.exchange(true)) {
    stream->exchange.reset();  // answered already: nobody listens to this stream
    stream->shared = std::make_shared<Exchange::Shared>();
    stream->shared->stream_open = false;
    return Stream{std::move(stream)};
  }
  asio::post(impl_->executor, [weak = impl_->exchange, content_type] {
    if (const auto target = weak.lock()) {
      target->stream_type = content_type;
      target->wake();
    }
  });
  return Stream{std::move(stream)};
}

void Stream::Impl::finish() {
  if (finished.exchange(true)) return;
  asio::post(executor, [weak = exchange] {
    if (const auto target = weak.lock()) {
      target->finished = true;
      target->wake();
    }
  });
}

Stream::Stream(std::shared_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}

bool Stream::write(std::string chunk) const {
  if (!open()) return false;
  if (chunk.empty()) return true;  // an empty chunk would end the stream
  const std::size_t size = chunk.size();
  const bool full = impl_->shared->queued_bytes.fetch_add(size) + size > impl_->shared->queue_bytes_max;
  if (full) impl_->shared->stream_open = false;
  asio::post(impl_->executor, [weak = impl_->exchange, full, chunk = std::move(chunk)]() mutable {
    const auto target = weak.lock();
    if (!target) return;
    if (full) {
      target->reader_gone();
    } else {
      target->chunks.push_back(std::move(chunk));
      target->wake();
    }
  });
  return !full;
}

void Stream::finish() const {
  impl_->finish();
}
bool Stream::open() const noexcept {
  return impl_->shared->stream_open && !impl_->finished;
}

void Stream::on_closed(std::function<void()> callback) const {
  asio::post(impl_->executor, [weak = impl_->exchange, callback = std::move(callback)]() mutable {
    const auto target = weak.lock();
    if (!target || target->gone) {
      if (!target || !target->finished) callback();
    } else {
      target->closed_callback = std::move(callback);
    }
  });
}

}  // namespace remus::http
