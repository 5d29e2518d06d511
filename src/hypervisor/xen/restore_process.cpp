#include "hypervisor/xen/restore_process.hpp"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <thread>

namespace remus::hypervisor::xen {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {

constexpr int stream_buffer_bytes = 4 << 20;
constexpr std::size_t line_bytes_max = 1024;
constexpr std::size_t complaints_bytes_max = 600;
constexpr auto drained_look_again = milliseconds{2};

struct Pair {
  Fd ours{};
  Fd theirs{};
};

Result<Pair> connected() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return fail_errno(errno, "cannot make a socket for the restore");
  return Pair{Fd{ends[0]}, Fd{ends[1]}};
}

int left_ms(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::max<std::int64_t>(0, left));
}

}  // namespace

Result<RestoreProcess> RestoreProcess::start(const fs::path& program, const fs::path& config,
                                             const std::string& name, const fs::path& log) {
  auto stream = connected();
  if (!stream) return std::unexpected(stream.error());
  auto control = connected();
  if (!control) return std::unexpected(control.error());
  ::setsockopt(stream->ours.get(), SOL_SOCKET, SO_SNDBUF, &stream_buffer_bytes, sizeof stream_buffer_bytes);
  auto process = ChildProcess::spawn({.program = program,
                                      .arguments = {"restore", config.native(), name},
                                      .environment = {},
                                      .output = log,
                                      .input = stream->theirs.get(),
                                      .extra = control->theirs.get()});
  if (!process) return std::unexpected(process.error());
  RestoreProcess out;
  out.process_ = std::move(*process);
  out.stream_ = std::move(stream->ours);
  out.control_ = std::move(control->ours);
  out.log_ = log;
  return out;
}

Status RestoreProcess::feed(std::span<const std::byte> bytes, milliseconds within) {
  const auto deadline = Clock::now() + within;
  while (!bytes.empty()) {
    const ssize_t sent = ::send(stream_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    } else if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
      pollfd ready{stream_.get(), POLLOUT, 0};
      if (::poll(&ready, 1, left_ms(deadline)) == 0)
        return fail(Errc::timeout, "the restore does not take its stream");
    } else {
      // It reports before it closes, so that the reason is there in a moment.
      if (auto said = await("", milliseconds{2000}); !said) return std::unexpected(said.error());
      return std::unexpected(died("the restore refused its stream"));
    }
  }
  return {};
}

Status RestoreProcess::drained(milliseconds within) {
  const auto deadline = Clock::now() + within;
  for (;;) {
    int waiting = 0;
    if (::ioctl(stream_.get(), SIOCOUTQ, &waiting) != 0)
      return fail_errno(errno, "cannot see how far the restore is");
    if (waiting == 0) break;
    if (!running() || spoke()) return std::unexpected(await("", milliseconds{2000}).error());
    if (Clock::now() >= deadline) return fail(Errc::timeout, "the restore does not get on with its stream");
    std::this_thread::sleep_for(drained_look_again);
  }
  // It may as well have died over it.
  if (!running() || spoke()) return std::unexpected(await("", milliseconds{2000}).error());
  return {};
}

Result<std::string> RestoreProcess::await(const std::string& word, milliseconds within) {
  const auto deadline = Clock::now() + within;
  for (;;) {
    if (const auto end = heard_.find('\n'); end != std::string::npos) {
      const std::string line = heard_.substr(0, end);
      heard_.erase(0, end + 1);
      if (!word.empty() && line.starts_with(word)) return line.substr(std::min(line.size(), word.size() + 1));
      if (line.starts_with("failed"))
        return std::unexpected(died(line.substr(std::min<std::size_t>(line.size(), 7))));
      return fail(Errc::internal, fmt::format("the restore says '{}' instead of '{}'", line, word));
    }
    pollfd ready{control_.get(), POLLIN, 0};
    if (::poll(&ready, 1, left_ms(deadline)) == 0)
      return fail(Errc::timeout, fmt::format("the restore does not get to '{}' within {} ms; libxl says: {}",
                                             word, within.count(), complaints_in(log_)));
    std::array<char, 256> chunk{};
    const ssize_t got = ::recv(control_.get(), chunk.data(), chunk.size(), 0);
    if (got > 0) heard_.append(chunk.data(), static_cast<std::size_t>(got));
    if (got == 0 || heard_.size() > line_bytes_max)
      return std::unexpected(died("the restore's process ended"));
    if (got < 0 && errno != EINTR) return fail_errno(errno, "cannot hear the restore");
  }
}

Status RestoreProcess::release() {
  constexpr std::string_view word = "run\n";
  if (::send(control_.get(), word.data(), word.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(word.size()))
    return std::unexpected(died("the restore's process is gone"));
  return {};
}

void RestoreProcess::let_go() noexcept {
  stream_.reset();
  control_.reset();
}

bool RestoreProcess::spoke() const noexcept {
  if (!heard_.empty()) return true;
  pollfd ready{control_.get(), POLLIN, 0};
  return control_ && ::poll(&ready, 1, 0) > 0;
}

Error RestoreProcess::died(const std::string& what) const {
  const std::string said = complaints_in(log_);
  return {Errc::io, said.empty() ? what : fmt::format("{}; libxl says: {}", what, said),
          fmt::format("see {}", log_.native())};
}

std::string complaints_in(const fs::path& log) {
  std::ifstream in{log};
  std::string out;
  for (std::string line; std::getline(in, line);) {
    const auto mark = line.find("error:");
    if (mark == std::string::npos) continue;
    const std::string text = line.substr(mark + 7);
    if (out.size() + text.size() > complaints_bytes_max) break;  // the first complaints tell the cause
    out += (out.empty() ? "" : "; ") + text;
  }
  return out;
}

}  // namespace remus::hypervisor::xen
