// A server with a few routes, running on a thread of its own.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "http/client.hpp"
#include "http/server.hpp"

namespace remus::http::test {

/// How long a test waits for what must happen. Generous: it is reached only when something is broken.
inline constexpr std::chrono::seconds patience{30};

class HttpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "remus-http-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir = name;
    path = dir / "s";
  }
  void TearDown() override {
    stop();
    std::error_code ignored;
    std::filesystem::remove_all(dir, ignored);
  }

  /// Starts the server on `path`.
  void serve(ServerOptions options = {}) {
    make(options);
    const Status listening = server->listen_unix(path, 0660);
    ASSERT_TRUE(listening.has_value()) << listening.error().text();
    run();
  }
  void make(ServerOptions options) {
    server = std::make_unique<Server>(
        io,
        [this](Request request, Responder responder) { handle(std::move(request), std::move(responder)); },
        options);
  }
  void run() {
    thread = std::thread{[this] { io.run(); }};
  }
  void stop() {
    if (!thread.joinable()) {
      server.reset();
      return;
    }
    on_server([this] { server.reset(); });
    work.reset();
    thread.join();
    for (std::thread& helper : helpers) helper.join();
    helpers.clear();
  }
  /// Does something on the server's thread and waits for it.
  void on_server(const std::function<void()>& action) {
    std::promise<void> done;
    boost::asio::post(io, [&] {
      action();
      done.set_value();
    });
    done.get_future().wait();
  }
  [[nodiscard]] ServerStats stats() {
    ServerStats out;
    on_server([&] { out = server->stats(); });
    return out;
  }
  template <typename Done>
  [[nodiscard]] bool wait_for(const Done& done) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
    return true;
  }

  virtual void handle(Request request, Responder responder) {
    const std::lock_guard lock{mutex};
    last = request;
    if (request.path == "/echo") {
      responder.reply({200, request.body, "text/plain", {{"X-Method", request.method}}});
    } else if (request.path == "/later") {
      helpers.emplace_back([responder] {
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
        responder.reply({200, "later", "text/plain", {}});
      });
    } else if (request.path == "/never") {
      kept.push_back(responder);
    } else if (request.path == "/drop") {
      return;
    } else if (request.path == "/throw") {
      throw std::runtime_error{"on purpose"};
    } else if (request.path == "/who") {
      responder.reply({200, request.peer.host, "text/plain", {}});
    } else if (request.path == "/count") {
      const Stream counted = responder.stream("application/x-ndjson");
      for (int i = 0; i < 5; ++i) counted.write("{\"n\":" + std::to_string(i) + "}\n");
      counted.finish();
    } else if (request.path == "/endless") {
      stream.emplace(responder.stream("text/event-stream"));
      stream->on_closed([this] { stream_closed = true; });
      stream->write("event: hello\ndata: first\n\n");
    } else {
      responder.fail({Errc::not_found, "there is no " + request.path, "look elsewhere"});
    }
  }

  /// A plain socket to the server, for what a proper client would never send.
  [[nodiscard]] Fd raw() const {
    Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const timeval limit{std::chrono::seconds{patience}.count(), 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
  }
  static void send_all(const Fd& fd, std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  static std::string read_all(const Fd& fd) {
    std::string out;
    char piece[4096];
    for (ssize_t n = 0; (n = ::read(fd.get(), piece, sizeof piece)) > 0;)
      out.append(piece, static_cast<std::size_t>(n));
    return out;
  }
  [[nodiscard]] Client client() const { return Client{UnixEndpoint{path}}; }

  std::filesystem::path dir{};
  std::filesystem::path path{};
  boost::asio::io_context io{};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work{
      io.get_executor()};
  std::unique_ptr<Server> server{};
  std::thread thread{};
  std::mutex mutex{};
  std::optional<Request> last{};
  std::vector<Responder> kept{};
  std::vector<std::thread> helpers{};
  std::optional<Stream> stream{};
  std::atomic<bool> stream_closed{false};
};

}  // namespace remus::http::test
