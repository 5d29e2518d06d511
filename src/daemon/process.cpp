#include "daemon/process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "base/fd.hpp"

namespace remus::daemon {

Result<pid_t> spawn_detached(const std::filesystem::path& program, const std::vector<std::string>& args) {
  std::vector<std::string> words{program.string()};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawnattr_t attributes{};
  posix_spawn_file_actions_t actions{};
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_init(&actions);
  // A guard outlives us: it must not keep our sockets open, or nobody could listen on them after us.
  ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  sigset_t none{};
  sigset_t all{};
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(
      &attributes, static_cast<short>(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  pid_t pid{};
  const int code = ::posix_spawn(&pid, program.c_str(), &actions, &attributes, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (code != 0)
    return fail_errno(code, fmt::format("cannot start '{}'", program.string()),
                      "is the package installed whole?");
  return pid;
}

std::uint64_t start_ticks(pid_t pid) {
  std::ifstream in{fmt::format("/proc/{}/stat", pid)};
  std::string text;
  std::getline(in, text, '\0');
  // The second field, the program's name, may hold anything: count from the last parenthesis. Field 22 is the
  // start.
  const auto paren = text.rfind(')');
  if (paren == std::string::npos) return 0;
  std::istringstream fields{text.substr(paren + 1)};
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  std::uint64_t ticks{};
  fields >> ticks;
  return fields ? ticks : 0;
}

struct ProcessWatch::Impl {
  Impl(boost::asio::io_context& io, int fd) : descriptor{io, fd} {}

  boost::asio::posix::stream_descriptor descriptor;
  pid_t pid{};
  std::function<void()> on_exit{};
  std::string end{};

  void reap() {
    siginfo_t info{};
    if (::waitid(P_PIDFD, static_cast<id_t>(descriptor.native_handle()), &info, WEXITED | WNOHANG) != 0)
      return;
    if (info.si_pid == 0) return;
    end = info.si_code == CLD_EXITED
              ? fmt::format("exit status {}", info.si_status)
              : fmt::format("signal {} ({})", info.si_status, ::sigdescr_np(info.si_status));
  }
};

ProcessWatch::ProcessWatch(std::shared_ptr<Impl> impl) : impl_{std::move(impl)} {}

ProcessWatch::~ProcessWatch() {
  impl_->on_exit = nullptr;
  boost::system::error_code ignored;
  impl_->descriptor.close(ignored);
}

Result<std::unique_ptr<ProcessWatch>> ProcessWatch::open(boost::asio::io_context& io, pid_t pid,
                                                         std::uint64_t ticks, std::function<void()> on_exit) {
  const auto gone = [&] { return fail(Errc::not_found, fmt::format("process {} does not exist", pid)); };
  if (pid <= 0) return gone();
  Fd fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};  // glibc 2.36 declares it for C only
  if (!fd) return errno == ESRCH ? gone() : fail_errno(errno, fmt::format("cannot watch process {}", pid));
  if (ticks != 0 && start_ticks(pid) != ticks) return gone();
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  auto impl = std::make_shared<Impl>(io, fd.release());
  impl->pid = pid;
  impl->on_exit = std::move(on_exit);
  impl->descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                              [impl](const boost::system::error_code& code) {
                                if (code) return;
                                impl->reap();
                                if (auto callback = std::exchange(impl->on_exit, nullptr)) callback();
                              });
  return std::unique_ptr<ProcessWatch>{new ProcessWatch{std::move(impl)}};
}

bool ProcessWatch::alive() const noexcept {
  pollfd poll{impl_->descriptor.native_handle(), POLLIN, 0};
  return ::poll(&poll, 1, 0) == 0;
}

void ProcessWatch::kill() const noexcept {
  ::syscall(SYS_pidfd_send_signal, impl_->descriptor.native_handle(), SIGKILL, nullptr, 0);
}

pid_t ProcessWatch::pid() const noexcept {
  return impl_->pid;
}
const std::string& ProcessWatch::end() const noexcept {
  return impl_->end;
}

}  // namespace remus::daemon
