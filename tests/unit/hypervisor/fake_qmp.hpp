// A monitor that says what a test lets it say.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>

namespace remus::test {

namespace fs = std::filesystem;

constexpr const char* greeting =
    R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": []}})"
    "\r\n";

class QmpTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/remus-qmp-XXXXXX";
    directory_ = ::mkdtemp(name);
    path_ = directory_ / "qmp.sock";
  }
  void TearDown() override {
    if (server_.joinable()) server_.join();
    fs::remove_all(directory_);
  }

  /// Listens, and lets `play` talk to the first client.
  void serve(std::function<void(int client)> play) {
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.native().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener, 1), 0);
    server_ = std::thread{[listener, play = std::move(play)] {
      const int client = ::accept(listener, nullptr, nullptr);
      play(client);
      ::close(client);
      ::close(listener);
    }};
  }

  static void say(int client, std::string_view text) {
    static_cast<void>(!::send(client, text.data(), text.size(), MSG_NOSIGNAL));
  }
  static nlohmann::json hear(int client) {
    std::string line;
    char c = 0;
    while (::recv(client, &c, 1, 0) == 1 && c != '\n') line += c;
    return nlohmann::json::parse(line, nullptr, false);
  }
  static void answer(int client, const nlohmann::json& to, const nlohmann::json& with) {
    say(client, nlohmann::json{{"id", to.value("id", 0)}, {"return", with}}.dump() + "\n");
  }
  static void hang_until_closed(int client) {
    char c = 0;
    while (::recv(client, &c, 1, 0) > 0) continue;
  }

  fs::path directory_{};
  fs::path path_{};
  std::thread server_{};
};

}  // namespace remus::test
