#include "daemon/event_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../temp_dir.hpp"
#include "daemon/json_fields.hpp"
#include "http/client.hpp"

namespace remus::daemon {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

guard::GuardEvent event(std::uint64_t sequence, const char* time, const char* text,
                        const char* guest = "web1") {
  return {sequence, time, guest, guard::Side::primary, "link", text, {}};
}

std::vector<std::string> texts(const json& events) {
  std::vector<std::string> out;
  for (const auto& one : events) out.push_back(text_at(one, "text"));
  return out;
}

const auto long_after = std::chrono::hours{1};

TEST(EventLog, ListsInOrderOfTimeNotOfArrival) {
  EventLog log;
  log.add(event(1, "2025-01-01T00:00:02.000Z", "second"));
  log.add(event(2, "2025-01-01T00:00:03.000Z", "third"));
  log.add(event(1, "2025-01-01T00:00:01.000Z", "first"));
  log.add(event(3, "2025-01-01T00:00:03.000Z", "third, later"));
  EXPECT_THAT(texts(log.list(0, "")), ElementsAre("first", "second", "third", "third, later"));
  EXPECT_THAT(texts(log.list(2, "")), ElementsAre("first", "third, later"))
      << "who has seen two misses neither what came late nor what is new";
  EXPECT_THAT(texts(log.list(0, "web2")), IsEmpty());
}

TEST(EventLog, KeepsTheNewestOfAThousand) {
  EventLog log;
  for (std::size_t i = 0; i < EventLog::kept_max + 10; ++i) log.add("web1", "test", std::to_string(i));
  const auto kept = texts(log.list(0, "web1"));
  ASSERT_EQ(kept.size(), EventLog::kept_max);
  EXPECT_EQ(kept.front(), "10");
}

/// A follower at the other end of a real stream.
class Follow : public testing::Test {
 protected:
  Follow() {
    if (!server_.listen_unix(socket_, 0600)) throw std::runtime_error{"listen"};
  }
  ~Follow() override {
    if (reader_.joinable()) {
      run_until([this] { return done_.load(); });
      reader_.join();
    }
  }

  void follow(std::string guest = {}) {
    guest_ = std::move(guest);
    reader_ = std::thread{[this] {
      http::Client client{http::UnixEndpoint{socket_}};
      static_cast<void>(
          client.stream({"GET", "/", {}}, std::chrono::seconds{30}, [this](std::string_view line) {
            const std::lock_guard lock{mutex_};
            lines_.push_back(text_at(json::parse(line), "text"));
            return lines_.back() != "end";
          }));
      done_ = true;
    }};
    run_until([this] { return following_; });
  }
  void run_until(const std::function<bool()>& condition) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds{30};
    while (!condition() && std::chrono::steady_clock::now() < give_up) {
      io_.restart();
      io_.run_for(std::chrono::milliseconds{1});
    }
  }
  /// All that was told, once the last word has come through.
  std::vector<std::string> told() {
    log.add("web1", "test", "end");
    log.settle(std::chrono::steady_clock::now() + long_after);
    run_until([this] { return done_.load(); });
    const std::lock_guard lock{mutex_};
    return lines_;
  }

  boost::asio::io_context io_{1};  // outlives the log, whose followers end on it
  EventLog log;

 private:
  test::TempDir dir_;
  std::filesystem::path socket_{dir_.path() / "sock"};
  std::string guest_;
  bool following_{};
  http::Server server_{io_, [this](const http::Request&, const http::Responder& responder) {
                         log.follow(responder.stream("application/x-ndjson"), 0, guest_);
                         following_ = true;
                       }};
  std::mutex mutex_;
  std::vector<std::string> lines_;
  std::atomic<bool> done_{};
  std::thread reader_;
};

TEST_F(Follow, IsToldInOrderOfTimeEachOnce) {
  log.add(event(1, "2025-01-01T00:00:00.000Z", "before, settled"));
  log.settle(std::chrono::steady_clock::now() + long_after);
  log.add(event(2, "2025-01-01T00:00:02.000Z", "daemon saw this first"));
  follow();
  log.settle(std::chrono::steady_clock::now());  // too early for anything
  log.add(event(3, "2025-01-01T00:00:01.000Z", "a guard had noticed this before"));
  log.settle(std::chrono::steady_clock::now() + long_after);
  log.settle(std::chrono::steady_clock::now() + long_after);
  log.add(event(4, "2025-01-01T00:00:00.500Z", "very late"));
  EXPECT_THAT(told(), ElementsAre("before, settled", "a guard had noticed this before",
                                  "daemon saw this first", "very late", "end"));
}

TEST_F(Follow, OneGuestIsToldOfThatGuestOnly) {
  follow("web1");
  log.add(event(1, "2025-01-01T00:00:01.000Z", "of another", "web2"));
  log.add(event(1, "2025-01-01T00:00:02.000Z", "of this one"));
  EXPECT_THAT(told(), ElementsAre("of this one", "end"));
}

}  // namespace
}  // namespace remus::daemon
