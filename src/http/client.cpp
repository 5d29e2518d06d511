#include "http/client.hpp"

#include <fmt/format.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <optional>
#include <utility>

#include "http/client_message.hpp"
#include "http/open_stream.hpp"

namespace remus::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr std::size_t line_bytes_max = std::size_t{1} << 20;
constexpr std::size_t piece_bytes = std::size_t{16} * 1024;
constexpr unsigned first_error_status = 400;

/// Cuts an answer that goes on into lines and hands each over.
class LineCutter final {
 public:
  explicit LineCutter(const std::function<bool(std::string_view)>& on_line) : on_line_{on_line} {}

  /// False: the reader has had enough. An error when a line has no end.
  Result<bool> feed(std::string_view piece) {
    while (!piece.empty()) {
      const auto end = piece.find('\n');
      rest_ += piece.substr(0, end);
      if (rest_.size() > line_bytes_max)
        return fail(Errc::corrupt,
                    fmt::format("a line of the answer has more than {} bytes", line_bytes_max));
      if (end == std::string_view::npos) return true;
      piece.remove_prefix(end + 1);
      if (!hand_over()) return false;
    }
    return true;
  }
  /// A last line without its newline.
  void end() {
    if (!rest_.empty()) static_cast<void>(hand_over());
  }

 private:
  bool hand_over() {
    std::string line = std::exchange(rest_, {});
    if (line.ends_with('\r')) line.pop_back();
    std::string_view text{line};
    if (text.starts_with("data:")) {
      text.remove_prefix(5);
      if (text.starts_with(' ')) text.remove_prefix(1);
    } else if (text.empty() || text.starts_with(':') || text.starts_with("event:") ||
               text.starts_with("id:") || text.starts_with("retry:")) {
      return true;  // what server-sent events have besides data
    }
    return on_line_(text);
  }

  const std::function<bool(std::string_view)>& on_line_;
  std::string rest_{};
};

}  // namespace

struct Client::Impl final {
  explicit Impl(Endpoint where) : endpoint{std::move(where)}, client{io, endpoint} {}

  Endpoint endpoint;
  asio::io_context io{1};
  AsyncClient client;

  /// Runs the loop until `done()`; every wait within has its own time limit, so this ends.
  template <typename Done>
  void run_until(const Done& done) {
    io.restart();
    while (!done() && io.run_one() > 0) {
    }
  }

  Result<Response> request(const Call& call, std::chrono::milliseconds timeout) {
    std::optional<Result<Response>> answer;
    client.request(call, timeout, [&answer](Result<Response> result) { answer = std::move(result); });
    run_until([&answer] { return answer.has_value(); });
    if (!answer) return fail(Errc::internal, fmt::format("no answer from {}", to_text(endpoint)));
    return std::move(*answer);
  }

  /// One operation with a time limit; on its expiry the stream is closed, which ends the operation.
  template <typename Start>
  error_code within(AnyStream& stream, std::chrono::milliseconds timeout, const Start& start) {
    std::optional<error_code> result;
    bool expired = false;
    asio::steady_timer timer{io, timeout};
    timer.async_wait([&](error_code cancelled) {
      if (cancelled) return;
      expired = true;
      stream.close();
    });
    start([&result](error_code error, std::size_t) { result = error; });
    run_until([&] { return result.has_value(); });
    timer.cancel();
    run_until([this] { return io.poll() == 0; });
    return expired ? error_code{asio::error::timed_out} : result.value_or(asio::error::operation_aborted);
  }

  Error broken(const error_code& error, std::chrono::milliseconds silence) const {
    if (error == asio::error::timed_out)
      return {Errc::timeout,
              fmt::format("nothing came from {} for {} ms", to_text(endpoint), silence.count()), ""};
    return explain(error, to_text(endpoint));
  }

  Result<std::unique_ptr<AnyStream>> open(std::chrono::milliseconds timeout) {
    std::optional<Result<std::unique_ptr<AnyStream>>> opened;
    const auto opener =
        StreamOpener::start(io, endpoint, timeout, [&opened](auto result) { opened = std::move(result); });
    asio::steady_timer timer{io, timeout};
    bool expired = false;
    timer.async_wait([&expired](error_code cancelled) { expired = !cancelled; });
    run_until([&] { return opened.has_value() || expired; });
    timer.cancel();
    run_until([this] { return io.poll() == 0; });
    if (opened) return std::move(*opened);
    opener->cancel();
    return fail(Errc::timeout, fmt::format("{} did not accept a connection within {} ms", to_text(endpoint),
                                           timeout.count()));
  }

  Status stream(const Call& call, std::chrono::milliseconds silence,
                const std::function<bool(std::string_view)>& on_line) {
    auto opened = open(silence);
    if (!opened) return std::unexpected(opened.error());
    AnyStream& stream = **opened;
    auto request = make_request(call, endpoint);
    if (const auto error =
            within(stream, silence, [&](auto handler) { bhttp::async_write(stream, request, handler); }))
      return std::unexpected(broken(error, silence));

    beast::flat_buffer buffer{header_bytes_max + line_bytes_max};
    bhttp::response_parser<bhttp::buffer_body> parser;
    parser.body_limit(boost::none);
    if (const auto error = within(stream, silence, [&](auto handler) {
          bhttp::async_read_header(stream, buffer, parser, handler);
        }))
      return std::unexpected(broken(error, silence));

    std::array<char, piece_bytes> piece{};
    LineCutter lines{on_line};
    const unsigned status = parser.get().result_int();
    std::string failure;
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      const auto error = within(
          stream, silence, [&](auto handler) { bhttp::async_read_some(stream, buffer, parser, handler); });
      const std::string_view got{piece.data(), piece.size() - parser.get().body().size};
      if (status >= first_error_status) {
        failure += got.substr(0, body_bytes_max - std::min(body_bytes_max, failure.size()));
      } else {
        auto more = lines.feed(got);
        if (!more) return std::unexpected(more.error());
        if (!*more) return {};
      }
      if (error && error != bhttp::error::need_buffer) return std::unexpected(broken(error, silence));
    }
    if (status >= first_error_status) return std::unexpected(error_of(Response{status, failure, {}, {}}));
    lines.end();
    return {};
  }
};

Client::Client(Endpoint endpoint) : impl_{std::make_unique<Impl>(std::move(endpoint))} {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Result<Response> Client::request(const Call& call, std::chrono::milliseconds timeout) {
  return impl_->request(call, timeout);
}

Status Client::stream(const Call& call, std::chrono::milliseconds silence,
                      const std::function<bool(std::string_view line)>& on_line) {
  return impl_->stream(call, silence, on_line);
}

}  // namespace remus::http
