#include "hypervisor/qemu/colo_channel.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace remus::hypervisor::qemu {

namespace {

void put_be32(std::byte* out, std::uint32_t value) noexcept {
  for (unsigned i = 0; i < 4; ++i) out[i] = static_cast<std::byte>(value >> (24U - 8U * i));
}

std::unexpected<Error> interrupted_error() {
  return fail(Errc::closed, "the checkpoint was interrupted");
}

}  // namespace

Status ColoChannel::open() {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
    return fail_errno(errno, "cannot create a socket pair for QEMU's checkpoint stream");
  ours_.reset(pair[0]);
  theirs_.reset(pair[1]);
  for (const int fd : pair) {
    // Without the privilege the kernel's limit stays: slower, not wrong.
    if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer_bytes, sizeof buffer_bytes) != 0)
      static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes));
  }
  if (!wake_) wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return fail_errno(errno, "cannot create an eventfd");
  return {};
}

void ColoChannel::close() noexcept {
  if (ours_) ::shutdown(ours_.get(), SHUT_RDWR);
  ours_.reset();
  theirs_.reset();
}

Result<std::size_t> ColoChannel::read(std::span<std::byte> into) {
  if (!ours_) return fail(Errc::closed, "QEMU's checkpoint stream is not open");
  for (;;) {
    if (interrupted_.load(std::memory_order_relaxed)) return interrupted_error();
    const ssize_t got = ::recv(ours_.get(), into.data(), into.size(), MSG_DONTWAIT);
    if (got > 0) return static_cast<std::size_t>(got);
    if (got == 0) return fail(Errc::closed, "QEMU closed its checkpoint stream");
    if (errno == EINTR) continue;
    if (errno == ECONNRESET) return fail(Errc::closed, "QEMU closed its checkpoint stream");
    if (errno != EAGAIN && errno != EWOULDBLOCK)
      return fail_errno(errno, "cannot read QEMU's checkpoint stream");
    if (auto ready = wait_readable(); !ready) return std::unexpected(ready.error());
  }
}

Status ColoChannel::wait_readable() {
  const auto deadline = std::chrono::steady_clock::now() + patience_;
  std::array<pollfd, 2> fds{pollfd{ours_.get(), POLLIN, 0}, pollfd{wake_.get(), POLLIN, 0}};
  for (;;) {
    const auto left = std::chrono::ceil<Milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    const int count = ::poll(fds.data(), fds.size(), left > 0 ? static_cast<int>(left) : 0);
    if (count < 0 && errno != EINTR) return fail_errno(errno, "cannot wait for QEMU's checkpoint stream");
    if (fds[1].revents != 0 || interrupted_.load(std::memory_order_relaxed)) return interrupted_error();
    if (count > 0) return {};
    if (count == 0)
      return fail(Errc::timeout,
                  fmt::format("QEMU sent nothing of its checkpoint for {} ms", patience_.count()),
                  "under TCG, QEMU older than 11 deadlocks in COLO: see docs/qemu.md");
  }
}

Status ColoChannel::expect(ColoMessage message) {
  std::array<std::byte, 4> bytes{};
  for (std::size_t done = 0; done < bytes.size();) {
    auto got = read(std::span{bytes}.subspan(done));
    if (!got) return std::unexpected(got.error());
    done += *got;
  }
  std::uint32_t value = 0;
  for (const std::byte byte : bytes) value = value << 8U | std::to_integer<std::uint32_t>(byte);
  if (value != static_cast<std::uint32_t>(message))
    return fail(Errc::corrupt, fmt::format("QEMU sent COLO message {} where {} belongs", value,
                                           static_cast<std::uint32_t>(message)));
  return {};
}

Status ColoChannel::send(std::initializer_list<ColoMessage> messages) {
  std::array<std::byte, 16> bytes{};
  std::size_t length = 0;
  for (const ColoMessage message : messages) {
    put_be32(bytes.data() + length, static_cast<std::uint32_t>(message));
    length += 4;
  }
  return send_bytes(std::span{bytes}.first(length));
}

Status ColoChannel::send_pong(std::uint32_t value) {
  std::array<std::byte, 8> bytes{std::byte{0}, std::byte{2}, std::byte{0}, std::byte{4}};
  put_be32(bytes.data() + 4, value);
  return send_bytes(bytes);
}

Status ColoChannel::send_shut() {
  const std::array<std::byte, 8> bytes{std::byte{0}, std::byte{1}, std::byte{0}, std::byte{4}};
  return send_bytes(bytes);
}

Status ColoChannel::send_bytes(std::span<const std::byte> bytes) {
  // A few bytes into an empty buffer of megabytes: this never waits.
  for (;;) {
    const ssize_t sent = ::send(ours_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == static_cast<ssize_t>(bytes.size())) return {};
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EPIPE || errno == ECONNRESET || errno == EBADF))
      return fail(Errc::closed, "QEMU closed its checkpoint stream");
    return fail_errno(sent < 0 ? errno : EAGAIN, "cannot write to QEMU's checkpoint stream");
  }
}

void ColoChannel::interrupt() noexcept {
  interrupted_.store(true);
  const std::uint64_t one = 1;
  if (wake_) static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

void ColoChannel::reset_interrupt() noexcept {
  interrupted_.store(false);
  std::uint64_t count = 0;
  if (wake_) static_cast<void>(!::read(wake_.get(), &count, sizeof count));
}

}  // namespace remus::hypervisor::qemu
