#include "base/fault.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace remus {
namespace {

struct Armed {
  std::string point;
  std::string action;
  long countdown{1};
};

std::vector<Armed> parse(const char* text) {
  std::vector<Armed> out;
  std::string_view rest{text == nullptr ? "" : text};
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    std::string_view item = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    const auto equals = item.find('=');
    if (equals == std::string_view::npos) continue;
    Armed armed{std::string{item.substr(0, equals)}, std::string{item.substr(equals + 1)}, 1};
    if (const auto at = armed.action.rfind('@'); at != std::string::npos) {
      armed.countdown = std::strtol(armed.action.c_str() + at + 1, nullptr, 10);
      armed.action.erase(at);
    }
    out.push_back(std::move(armed));
  }
  return out;
}

bool first_to_act() {
  const char* path = std::getenv("REMUS_FAULT_ONCE");
  if (path == nullptr) return true;
  const int fd = ::open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

void act(const std::string& action) {
  if (action == "kill") {
    ::kill(::getpid(), SIGKILL);
    ::pause();
  } else if (action == "stop") {
    ::kill(::getpid(), SIGSTOP);
  } else if (action == "exit") {
    ::_exit(70);
  } else if (action.starts_with("file:")) {
    const std::string path = action.substr(5);
    const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) ::close(fd);
    for (int i = 0; i < 10000 && ::access(path.c_str(), F_OK) == 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
}

}  // namespace

void fault_point(const char* name) noexcept {
  static std::mutex mutex;
  static std::vector<Armed> armed = parse(std::getenv("REMUS_FAULT"));
  if (armed.empty()) return;
  std::string action;
  {
    const std::lock_guard lock{mutex};
    for (auto& a : armed) {
      if (a.point != name || a.countdown <= 0) continue;
      a.countdown -= 1;
      if (a.countdown == 0) action = a.action;
    }
  }
  if (!action.empty() && first_to_act()) act(action);
}

}  // namespace remus
