#include "output/redirector.hpp"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>

#include "base/fd.hpp"
#include "output/filter_control.hpp"
#include "output/frame_ring.hpp"

namespace remus::output {

namespace {

using Clock = std::chrono::steady_clock;
using hypervisor::qemu::Qmp;
using std::chrono::milliseconds;

constexpr std::size_t receive_bytes = 256UL << 10;
constexpr auto quiet_timeout = milliseconds{5};  ///< QEMU normally reads what we sent within microseconds
constexpr auto inbound_timeout = milliseconds{5};
constexpr auto drain_timeout = milliseconds{3000};
constexpr auto switch_timeout = milliseconds{3000};
constexpr auto poll_step = std::chrono::microseconds{50};

int waiting_bytes(int fd, unsigned long request) noexcept {
  int bytes = 0;
  return ::ioctl(fd, request, &bytes) == 0 ? bytes : 0;
}

/// One netdev: its filters in QEMU and what is held of it here.
struct Port {
  FilterControl control;
  FrameRing ring;
  bool closed{false};  ///< QEMU has closed its end, or the framing is lost
};

class FilterRedirector;

/// What the pause hooks hold on to: they may be called after the redirector has gone, and then do nothing.
struct HookTarget {
  std::mutex mutex{};
  FilterRedirector* redirector{};
};

class FilterRedirector final : public Redirector {
 public:
  FilterRedirector(std::shared_ptr<Qmp> qmp, RedirectorOptions options)
      : qmp_{std::move(qmp)}, options_{std::move(options)}, buffer_(receive_bytes) {
    hook_target_->redirector = this;
  }

  ~FilterRedirector() override {
    {
      const std::lock_guard lock{hook_target_->mutex};
      hook_target_->redirector = nullptr;
    }
    if (auto done = detach(); !done) spdlog::warn("taking the output buffer away: {}", done.error().text());
  }

  void on_waiting(std::function<void()> callback) override {
    const std::lock_guard lock{mutex_};
    on_waiting_ = std::move(callback);
  }

  Status attach() override;
  Status hold() override;
  Status mark(Epoch epoch) override;
  void release(Epoch upto) override;
  void pass() override;
  void discard() override;
  Status detach() override;
  OutputStats stats() const override;
  hypervisor::qemu::PauseHooks pause_hooks() override;

 private:
  enum class Path { direct, diverted };  ///< where the guest's packets go: past us, or through us

  void io_loop(const std::stop_token& stop);
  void switch_loop(const std::stop_token& stop);
  Status divert();
  Status bypass();
  [[nodiscard]] bool drained();

  void before_pause();
  Status before_resume();
  void after_pause();

  // With mutex_ held:
  /// `all`: until the socket is empty, not just what came in one piece.
  void receive(Port& port, bool all = false);
  void send(Port& port);
  void send_all();
  [[nodiscard]] std::size_t budget() const;
  [[nodiscard]] bool tell_waiting();
  void wake() const noexcept;

  std::shared_ptr<Qmp> qmp_;
  RedirectorOptions options_;
  std::vector<std::byte> buffer_;

  mutable std::mutex mutex_{};
  std::condition_variable changed_{};
  std::vector<std::unique_ptr<Port>> ports_{};
  std::function<void()> on_waiting_{};
  bool attached_{false};
  bool holding_{false};
  bool quiet_{false};  ///< around a pause: nothing is sent towards QEMU
  bool waiting_told_{false};
  Path wanted_{Path::direct};
  Path actual_{Path::direct};
  std::optional<Error> switch_error_{};
  bool inbound_held_{false};  ///< capture thread only

  std::shared_ptr<HookTarget> hook_target_{std::make_shared<HookTarget>()};
  Fd wake_{};
  std::jthread io_{};
  std::jthread switcher_{};
};

Status FilterRedirector::attach() {
  if (attached_) return {};
  if (!wake_) wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return fail_errno(errno, "cannot create an eventfd");
  std::vector<std::unique_ptr<Port>> ports;
  Status result{};
  for (const auto& netdev : options_.netdevs) {
    auto ring = FrameRing::create(options_.hold_bytes_max);
    if (!ring) {
      result = std::unexpected(ring.error());
      break;
    }
    auto port = std::make_unique<Port>(
        Port{FilterControl{qmp_, netdev, static_cast<unsigned>(ports.size())}, std::move(*ring), false});
    result = port->control.add();
    if (!result) break;
    ports.push_back(std::move(port));
  }
  if (!result) {
    for (const auto& port : ports) std::ignore = port->control.remove();
    return result;
  }
  {
    const std::lock_guard lock{mutex_};
    ports_ = std::move(ports);
    attached_ = true;
    holding_ = false;
    wanted_ = actual_ = Path::direct;
  }
  io_ = std::jthread{[this](const std::stop_token& stop) { io_loop(stop); }};
  switcher_ = std::jthread{[this](const std::stop_token& stop) { switch_loop(stop); }};
  return {};
}

Status FilterRedirector::hold() {
  const std::lock_guard lock{mutex_};
  holding_ = true;
  wanted_ = Path::diverted;
  switch_error_.reset();
  changed_.notify_all();
  return {};  // an error of the switch is told by before_resume()
}

Status FilterRedirector::mark(Epoch epoch) {
  const std::lock_guard lock{mutex_};
  for (const auto& port : ports_) {
    receive(*port, true);
    port->ring.mark(epoch);
  }
  waiting_told_ = false;
  return {};
}

void FilterRedirector::release(Epoch upto) {
  const std::lock_guard lock{mutex_};
  for (const auto& port : ports_) port->ring.release(upto);
  send_all();
}

void FilterRedirector::pass() {
  const std::lock_guard lock{mutex_};
  holding_ = false;
  wanted_ = Path::direct;
  switch_error_.reset();
  for (const auto& port : ports_) port->ring.release_all();
  send_all();
  changed_.notify_all();
}

void FilterRedirector::discard() {
  const std::lock_guard lock{mutex_};
  for (const auto& port : ports_) {
    receive(*port);
    std::ignore = port->ring.discard();
  }
  holding_ = true;
}

Status FilterRedirector::detach() {
  Status result{};
  {
    std::unique_lock lock{mutex_};
    if (!attached_) return {};
    lock.unlock();
    pass();
    lock.lock();
    const bool done = changed_.wait_for(lock, drain_timeout + switch_timeout,
                                        [&] { return actual_ == Path::direct || switch_error_.has_value(); });
    if (!done || switch_error_)
      result =
          switch_error_
              ? std::unexpected(*switch_error_)
              : Status{fail(Errc::timeout, "the guest's packets could not be led past the output buffer")};
    attached_ = false;
  }
  switcher_ = {};
  io_.request_stop();
  wake();
  io_ = {};
  // No thread of ours is left: the ports are ours alone.
  for (const auto& port : ports_)
    if (auto removed = port->control.remove(); !removed && result) result = removed;
  const std::lock_guard lock{mutex_};
  ports_.clear();
  // A guest that has just died may fail us before its monitor's end is noticed: asking makes sure.
  if (!result)
    if (const auto answer = qmp_->execute("query-status"); !answer && answer.error().kind == Errc::closed)
      return {};
  if (qmp_->closed()) return {};
  return result;
}

OutputStats FilterRedirector::stats() const {
  const std::lock_guard lock{mutex_};
  OutputStats out;
  for (const auto& port : ports_) {
    const FrameCount released = port->ring.released();
    const FrameCount dropped = port->ring.dropped();
    const FrameCount held = port->ring.held();
    out.held_packets += held.packets;
    out.held_bytes += held.bytes;
    out.released_packets += released.packets;
    out.released_bytes += released.bytes;
    out.dropped_packets += dropped.packets;
  }
  return out;
}

// ---- moving packets

std::size_t FilterRedirector::budget() const {
  std::size_t used = 0;
  for (const auto& port : ports_) used += port->ring.used_bytes();
  return options_.hold_bytes_max > used ? options_.hold_bytes_max - used : 0;
}

void FilterRedirector::receive(Port& port, bool all) {
  while (!port.closed) {
    // NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection): MSG_DONTWAIT, it never waits
    const ssize_t got = ::recv(port.control.from_guest(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) {
      port.closed = true;
      return;
    }
    if (auto taken = port.ring.take(std::span{buffer_}.first(static_cast<std::size_t>(got)), budget());
        !taken) {
      spdlog::error("output of netdev '{}': {}", port.control.netdev(), taken.error().text());
      port.closed = true;
    }
    if (!all && static_cast<std::size_t>(got) < buffer_.size() / 2) return;  // poll tells if there is more
  }
}

void FilterRedirector::send(Port& port) {
  while (!quiet_ && !port.closed) {
    const auto bytes = port.ring.sendable();
    if (bytes.empty()) return;
    const ssize_t sent =
        ::send(port.control.to_network(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      port.ring.sent(static_cast<std::size_t>(sent));
    } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      wake();  // the I/O thread goes on when QEMU has read
      return;
    } else if (sent == 0 || errno != EINTR) {
      port.closed = true;
    }
  }
}

void FilterRedirector::send_all() {
  for (const auto& port : ports_) send(*port);
}

bool FilterRedirector::tell_waiting() {
  if (!holding_ || waiting_told_ || !on_waiting_) return false;
  for (const auto& port : ports_)
    if (port->ring.has_unmarked()) return waiting_told_ = true;
  return false;
}

void FilterRedirector::wake() const noexcept {
  const std::uint64_t one = 1;
  if (wake_) static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

void FilterRedirector::io_loop(const std::stop_token& stop) {
  std::vector<pollfd> fds;
  while (!stop.stop_requested()) {
    fds.assign(1, pollfd{wake_.get(), POLLIN, 0});
    {
      const std::lock_guard lock{mutex_};
      for (const auto& port : ports_) {
        const bool blocked = !quiet_ && !port->ring.sendable().empty();
        fds.push_back({port->closed ? -1 : port->control.from_guest(), POLLIN, 0});
        fds.push_back({port->closed || !blocked ? -1 : port->control.to_network(), POLLOUT, 0});
      }
    }
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
      spdlog::error("output buffer: poll failed: {}", errno);
      return;
    }
    std::uint64_t count = 0;
    if (fds[0].revents != 0) static_cast<void>(!::read(wake_.get(), &count, sizeof count));
    std::function<void()> callback;
    {
      const std::lock_guard lock{mutex_};
      for (const auto& port : ports_) {
        receive(*port);
        if (!holding_) port->ring.release_all();
      }
      send_all();
      if (tell_waiting()) callback = on_waiting_;
    }
    if (callback) callback();
  }
}

// ---- leading packets through us, and past us again

void FilterRedirector::switch_loop(const std::stop_token& stop) {
  std::unique_lock lock{mutex_};
  const std::stop_callback on_stop{stop, [this] { changed_.notify_all(); }};
  while (!stop.stop_requested()) {
    changed_.wait(lock, [&] { return stop.stop_requested() || (wanted_ != actual_ && !switch_error_); });
    if (stop.stop_requested()) return;
    const Path goal = wanted_;
    lock.unlock();
    const Status done = goal == Path::diverted ? divert() : bypass();
    lock.lock();
    if (done) {
      actual_ = goal;
    } else if (wanted_ == goal) {
      switch_error_ = done.error();
    }
    changed_.notify_all();
  }
}

Status FilterRedirector::divert() {
  for (const auto& port : ports_)
    if (auto on = port->control.set_redirector(true); !on) return on;
  return {};
}

/// Packets must neither overtake those still on their way through us nor be lost: the gate keeps them inside
/// QEMU until all that we have is out.
Status FilterRedirector::bypass() {
  const auto open_gates = [&] {
    Status result{};
    for (const auto& port : ports_)
      if (auto off = port->control.set_gate(false); !off && result) result = off;
    return result;
  };
  for (const auto& port : ports_)
    if (auto on = port->control.set_gate(true); !on) {
      std::ignore = open_gates();
      return on;
    }
  const auto deadline = Clock::now() + drain_timeout;
  bool empty = false;
  while (!(empty = drained()) && Clock::now() < deadline) {
    {
      const std::lock_guard lock{mutex_};
      if (wanted_ != Path::direct) break;
    }
    std::this_thread::sleep_for(poll_step);
  }
  Status result{};
  if (empty) {
    for (const auto& port : ports_)
      if (auto off = port->control.set_redirector(false); !off && result) result = off;
  } else {
    result = fail(Errc::timeout, "QEMU does not take the guest's released packets");
  }
  const Status opened = open_gates();
  return result ? opened : result;
}

/// Whether no packet is on its way through us.
bool FilterRedirector::drained() {
  const std::lock_guard lock{mutex_};
  for (const auto& port : ports_) {
    if (port->closed) continue;
    if (waiting_bytes(port->control.from_guest(), SIOCINQ) != 0 || port->ring.used_bytes() != 0 ||
        waiting_bytes(port->control.to_network(), SIOCOUTQ) != 0)
      return false;
  }
  return true;
}

// ---- around a pause

hypervisor::qemu::PauseHooks FilterRedirector::pause_hooks() {
  const auto call = [target = hook_target_](auto step) {
    const std::lock_guard lock{target->mutex};
    return target->redirector == nullptr ? decltype(step(*target->redirector)){} : step(*target->redirector);
  };
  const auto before = [](FilterRedirector& self) { return self.before_pause(), Status{}; };
  const auto resuming = [](FilterRedirector& self) { return self.before_resume(); };
  const auto after = [](FilterRedirector& self) { return self.after_pause(), Status{}; };
  return {[=] { std::ignore = call(before); }, [=] { return call(resuming); },
          [=] { std::ignore = call(after); }};
}

/// QEMU stops a guest in two steps, and drops at the second one what it has taken from a netdev, or from us,
/// since the first. So nothing must come its way: inbound packets wait in a filter, ours here.
void FilterRedirector::before_pause() {
  if (ports_.empty()) return;
  if (options_.hold_inbound) {
    inbound_held_ = true;
    for (const auto& port : ports_) port->control.post_inbound(true);
    // A QEMU that is too busy to answer must not delay the checkpoint: at worst a packet is lost.
    std::ignore = ports_.back()->control.settle(inbound_timeout);
  }
  {
    const std::lock_guard lock{mutex_};
    quiet_ = true;
  }
  const auto deadline = Clock::now() + quiet_timeout;
  for (const auto& port : ports_)
    while (waiting_bytes(port->control.to_network(), SIOCOUTQ) != 0 && Clock::now() < deadline)
      std::this_thread::sleep_for(poll_step);
}

Status FilterRedirector::before_resume() {
  std::unique_lock lock{mutex_};
  if (!holding_ || ports_.empty()) return {};
  const bool done = changed_.wait_for(lock, switch_timeout, [&] {
    return actual_ == Path::diverted || switch_error_.has_value() || !holding_;
  });
  if (switch_error_) return std::unexpected(switch_error_->in("holding the guest's output"));
  if (!done) return fail(Errc::timeout, "QEMU does not divert the guest's output in time");
  return {};
}

void FilterRedirector::after_pause() {
  {
    const std::lock_guard lock{mutex_};
    quiet_ = false;
    send_all();
  }
  if (!inbound_held_) return;
  inbound_held_ = false;
  for (const auto& port : ports_) port->control.post_inbound(false);
}

}  // namespace

std::unique_ptr<Redirector> make_redirector(std::shared_ptr<Qmp> qmp, RedirectorOptions options) {
  return std::make_unique<FilterRedirector>(std::move(qmp), std::move(options));
}

}  // namespace remus::output
