#include "hypervisor/child_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace remus::hypervisor {

namespace {

namespace fs = std::filesystem;

struct FileActions {
  posix_spawn_file_actions_t value{};
  FileActions() { ::posix_spawn_file_actions_init(&value); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  ~FileActions() { ::posix_spawn_file_actions_destroy(&value); }
};

struct Attributes {
  posix_spawnattr_t value{};
  Attributes() {
    ::posix_spawnattr_init(&value);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&value, &none);
    ::posix_spawnattr_setsigdefault(&value, &all);
    ::posix_spawnattr_setflags(
        &value, static_cast<short>(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  ~Attributes() { ::posix_spawnattr_destroy(&value); }
};

std::vector<std::string> merged_environment(const std::vector<std::string>& extra) {
  std::vector<std::string> out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view ours = *entry;
    const std::string key{ours.substr(0, ours.find('=') + 1)};
    bool replaced = false;
    for (const auto& other : extra) replaced = replaced || other.starts_with(key);
    if (!replaced) out.emplace_back(ours);
  }
  out.insert(out.end(), extra.begin(), extra.end());
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  out.reserve(words.size() + 1);
  for (auto& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

Result<pid_t> start(const fs::path& program, const std::vector<std::string>& arguments,
                    const std::vector<std::string>& environment, const FileActions& actions) {
  std::vector<std::string> argv{program.native()};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environ_now = merged_environment(environment);
  const auto argv_pointers = pointers(argv);
  const auto environ_pointers = pointers(environ_now);
  const Attributes attributes;
  pid_t pid = 0;
  const int code = ::posix_spawn(&pid, program.c_str(), &actions.value, &attributes.value,
                                 argv_pointers.data(), environ_pointers.data());
  if (code != 0) return fail_errno(code, fmt::format("cannot start {}", program.native()));
  return pid;
}

}  // namespace

std::uint64_t start_time_of(pid_t pid) {
  std::ifstream file{fmt::format("/proc/{}/stat", pid)};
  std::string line;
  if (!std::getline(file, line)) return 0;
  // The second field is the program's name in parentheses and may hold anything; count from behind it.
  const auto end = line.rfind(')');
  if (end == std::string::npos) return 0;
  std::istringstream fields{line.substr(end + 1)};
  std::string state;
  fields >> state;
  if (state == "Z" || state == "X") return 0;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  std::uint64_t start = 0;
  fields >> start;
  return start;
}

Result<ChildProcess> ChildProcess::spawn(const SpawnOptions& options) {
  FileActions actions;
  if (options.input >= 0)
    ::posix_spawn_file_actions_adddup2(&actions.value, options.input, 0);
  else
    ::posix_spawn_file_actions_addopen(&actions.value, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions.value, 1, options.output.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
  ::posix_spawn_file_actions_adddup2(&actions.value, 1, 2);
  if (options.extra >= 0) ::posix_spawn_file_actions_adddup2(&actions.value, options.extra, 3);
  ::posix_spawn_file_actions_addclosefrom_np(&actions.value, options.extra >= 0 ? 4 : 3);
  ::posix_spawn_file_actions_addchdir_np(&actions.value, options.directory.c_str());
  auto pid = start(options.program, options.arguments, options.environment, actions);
  if (!pid) return std::unexpected(pid.error());
  ChildProcess out;
  out.pid_ = *pid;
  out.handle_.reset(static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0)));
  if (!out.handle_) return fail_errno(errno, "cannot watch a process just started");
  out.start_time_ = start_time_of(*pid);
  return out;
}

Result<ChildProcess> ChildProcess::adopt(pid_t pid, std::uint64_t start_time) {
  ChildProcess out;
  out.pid_ = pid;
  out.start_time_ = start_time;
  if (pid > 0) out.handle_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  // The handle first, then the look: whoever has this pid now keeps it while we hold the handle.
  if (!out.handle_ || start_time == 0 || start_time_of(pid) != start_time)
    return fail(Errc::not_found, fmt::format("process {} is gone", pid));
  return out;
}

bool ChildProcess::running() const noexcept {
  if (!handle_) return false;
  pollfd ended{handle_.get(), POLLIN, 0};
  return ::poll(&ended, 1, 0) == 0;
}

Status ChildProcess::kill(std::chrono::milliseconds timeout) {
  if (!handle_) return {};
  static_cast<void>(::syscall(SYS_pidfd_send_signal, handle_.get(), SIGKILL, nullptr, 0));
  pollfd ended{handle_.get(), POLLIN, 0};
  if (::poll(&ended, 1, static_cast<int>(timeout.count())) == 0)
    return fail(Errc::timeout, fmt::format("process {} does not end after SIGKILL", pid_));
  // Ours to bury, unless an earlier guard started it.
  static_cast<void>(::waitid(P_PIDFD, static_cast<id_t>(handle_.get()), nullptr, WEXITED | WNOHANG));
  handle_.reset();
  return {};
}

Result<std::string> run_program(const fs::path& program, const std::vector<std::string>& arguments,
                                std::chrono::milliseconds timeout) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno(errno, "cannot create a pipe");
  Fd in{ends[0]};
  Fd out{ends[1]};
  FileActions actions;
  ::posix_spawn_file_actions_addopen(&actions.value, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions.value, out.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions.value, out.get(), 2);
  auto pid = start(program, arguments, {}, actions);
  if (!pid) return std::unexpected(pid.error());
  out.reset();
  std::string text;
  std::array<char, 4096> chunk{};
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  bool finished = false;
  while (!finished && text.size() < (1UL << 20)) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd ready{in.get(), POLLIN, 0};
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0) break;
    const ssize_t got = ::read(in.get(), chunk.data(), chunk.size());
    finished = got == 0;
    if (got > 0) text.append(chunk.data(), static_cast<std::size_t>(got));
  }
  if (!finished) ::kill(*pid, SIGKILL);
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) continue;
  if (!finished) return fail(Errc::timeout, fmt::format("{} did not finish in time", program.native()));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(Errc::io, fmt::format("{} failed: {}", program.native(), text.substr(0, 400)));
  return text;
}

fs::path find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream places{std::string{path == nullptr ? "" : path} +
                            ":/usr/bin:/usr/local/bin:/usr/libexec"};
  for (std::string place; std::getline(places, place, ':');) {
    if (place.empty()) continue;
    fs::path candidate = fs::path{place} / name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

}  // namespace remus::hypervisor
