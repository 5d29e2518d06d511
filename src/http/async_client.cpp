#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <deque>
#include <optional>
#include <utility>

#include "http/client.hpp"
#include "http/client_message.hpp"
#include "http/open_stream.hpp"

namespace remus::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr std::size_t answer_bytes_max = std::size_t{16} << 20;

/// The server closed a kept connection just as we used it: no fault, and for a GET no harm in asking again.
bool is_stale(const error_code& error) {
  return error == bhttp::error::end_of_stream || error == asio::error::eof ||
         error == asio::error::connection_reset || error == asio::error::broken_pipe ||
         error == asio::ssl::error::stream_truncated;
}

}  // namespace

struct AsyncClient::Impl final : std::enable_shared_from_this<AsyncClient::Impl> {
  struct Job {
    explicit Job(asio::io_context& io) : timer{io} {}
    Call call{};
    /// The timer's wait owns it, and the loop owns that. Who waits for the answer may well own this client: held by
    /// the queue, the two would keep each other alive when the loop ends without an answer.
    std::weak_ptr<Callback> callback{};
    asio::steady_timer timer;
    std::chrono::milliseconds timeout{};
    bool retried{false};
    bool done{false};
  };
  using JobPtr = std::shared_ptr<Job>;

  /// A kept connection and what is read from it. Shared with the operation under way.
  struct Line {
    explicit Line(std::unique_ptr<AnyStream> own_stream) : stream{std::move(own_stream)} {}
    std::unique_ptr<AnyStream> stream;
    beast::flat_buffer buffer{answer_bytes_max + header_bytes_max};
    bhttp::request<bhttp::string_body> request{};
    std::optional<bhttp::response_parser<bhttp::string_body>> parser{};
    bool used{false};                                ///< it has served a request before
    std::shared_ptr<asio::ssl::context> identity{};  ///< as whom we speak on it; null on a unix socket
  };
  using LinePtr = std::shared_ptr<Line>;

  Impl(asio::io_context& context, Endpoint where, std::size_t waiting_max)
      : io{context}, endpoint{std::move(where)}, queue_max{waiting_max} {}

  asio::io_context& io;
  Endpoint endpoint;
  std::size_t queue_max;
  std::deque<JobPtr> queue{};  ///< the front is under way when `busy`
  bool busy{false};
  bool abandoned{false};
  std::shared_ptr<StreamOpener> opener{};
  LinePtr line{};

  void request(Call call, std::chrono::milliseconds timeout, Callback callback) {
    auto job = std::make_shared<Job>(io);
    job->call = std::move(call);
    const auto kept = std::make_shared<Callback>(std::move(callback));
    job->callback = kept;
    job->timeout = timeout;
    if (queue.size() > queue_max) {
      answer(job, fail(Errc::exhausted, fmt::format("too many requests to {} are waiting ({})",
                                                    to_text(endpoint), queue.size())));
      return;
    }
    queue.push_back(job);
    job->timer.expires_after(timeout);
    job->timer.async_wait([weak = weak_from_this(), job, kept](error_code cancelled) {
      const auto self = weak.lock();
      if (!cancelled && self && !job->done) self->timed_out(job);
    });
    step();
  }

  void timed_out(const JobPtr& job) {
    const bool under_way = busy && queue.front() == job;
    auto error = fail(Errc::timeout, fmt::format("no answer from {} within {} ms to {} {}", to_text(endpoint),
                                                 job->timeout.count(), job->call.method, job->call.target));
    if (under_way) {
      drop_line();
      finish(std::move(error));
    } else {
      std::erase(queue, job);
      answer(job, std::move(error));
    }
  }

  /// The identity that is in force now; null if there is none, or none is needed.
  [[nodiscard]] std::shared_ptr<asio::ssl::context> identity() const {
    const auto* tls = std::get_if<TlsEndpoint>(&endpoint);
    if (tls == nullptr) return nullptr;
    auto context = tls->pki->context();
    return context ? *context : nullptr;
  }

  void step() {
    if (busy || queue.empty()) return;
    busy = true;
    // A renewed certificate is used at once, one taken away no longer.
    if (line && line->identity != identity()) drop_line();
    if (line) {
      exchange();
      return;
    }
    const JobPtr job = queue.front();
    auto begin = [self = shared_from_this(), job, as = identity()](auto opened) {
      self->opener = nullptr;
      if (job->done) return;
      if (!opened) {
        self->finish(std::unexpected(std::move(opened.error())));
        return;
      }
      self->line = std::make_shared<Line>(std::move(*opened));
      self->line->identity = as;
      self->exchange();
    };
    opener = StreamOpener::start(io, endpoint, job->timeout, std::move(begin));
  }

  void exchange() {
    const JobPtr job = queue.front();
    const LinePtr on = line;
    on->request = make_request(job->call, endpoint);
    on->parser.emplace();
    on->parser->body_limit(answer_bytes_max);
    bhttp::async_write(*on->stream, on->request,
                       [self = shared_from_this(), job, on](error_code error, std::size_t) {
                         if (job->done) return;
                         if (error)
                           self->broken(job, on, error);
                         else
                           self->read(job, on);
                       });
  }

  void read(const JobPtr& job, const LinePtr& on) {
    bhttp::async_read(*on->stream, on->buffer, *on->parser,
                      [self = shared_from_this(), job, on](error_code error, std::size_t) {
                        if (job->done) return;
                        if (error) {
                          self->broken(job, on, error);
                          return;
                        }
                        auto message = on->parser->release();
                        on->used = true;
                        if (!message.keep_alive()) self->drop_line();
                        self->finish(to_response(std::move(message)));
                      });
  }

  void broken(const JobPtr& job, const LinePtr& on, const error_code& error) {
    const bool again = on->used && !job->retried && job->call.method == "GET" && is_stale(error) &&
                       !on->parser->is_header_done();
    drop_line();
    if (again) {
      job->retried = true;
      busy = false;
      step();
      return;
    }
    finish(std::unexpected(explain(error, to_text(endpoint))));
  }

  void drop_line() {
    if (opener) std::exchange(opener, nullptr)->cancel();
    if (line) std::exchange(line, nullptr)->stream->close();
  }

  void finish(Result<Response> result) {
    const JobPtr job = queue.front();
    queue.pop_front();
    busy = false;
    answer(job, std::move(result));
    step();
  }

  void answer(const JobPtr& job, Result<Response> result) {
    job->done = true;
    auto callback = std::exchange(job->callback, {}).lock();  // before the wait that owns it ends
    job->timer.cancel();
    asio::post(
        io, [weak = weak_from_this(), callback = std::move(callback), result = std::move(result)]() mutable {
          const auto self = weak.lock();
          if (self && !self->abandoned && callback) (*callback)(std::move(result));
        });
  }

  void abandon() {
    abandoned = true;
    for (const JobPtr& job : queue) {
      job->done = true;
      job->callback.reset();
      job->timer.cancel();
    }
    queue.clear();
    busy = false;
    drop_line();
  }

  void disconnect() {
    const bool under_way = busy;
    drop_line();
    if (under_way)
      finish(fail(Errc::closed, fmt::format("the connection with {} was closed here", to_text(endpoint))));
  }
};

AsyncClient::AsyncClient(asio::io_context& io, Endpoint endpoint, std::size_t queue_max)
    : impl_{std::make_shared<Impl>(io, std::move(endpoint), queue_max)} {}
AsyncClient::~AsyncClient() {
  impl_->abandon();
}
void AsyncClient::request(Call call, std::chrono::milliseconds timeout, Callback callback) {
  impl_->request(std::move(call), timeout, std::move(callback));
}
std::size_t AsyncClient::pending() const noexcept {
  return impl_->queue.size();
}
void AsyncClient::disconnect() {
  impl_->disconnect();
}

}  // namespace remus::http
