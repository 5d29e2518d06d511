#include "output/plug.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <tuple>

#include "base/fd.hpp"
#include "output/plug_epochs.hpp"
#include "output/plug_port.hpp"
#include "output/plug_tap.hpp"
#include "output/plug_watch.hpp"

namespace remus::output {
namespace {

using checkpoint::Epoch;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto drain_max = milliseconds{3000};
constexpr auto drain_in_pause_max = milliseconds{20};
constexpr auto drain_step = milliseconds{1};

struct Held {
  std::unique_ptr<PlugPort> port;
  PlugTap tap;
  PlugEpochs epochs{};
  bool unmarked{false};  ///< something came since plug's last mark
};

class PlugBuffer final : public OutputBuffer {
 public:
  explicit PlugBuffer(PlugOptions options) : options_{std::move(options)} {}

  ~PlugBuffer() override {
    if (auto done = detach(); !done) spdlog::warn("taking the output buffer away: {}", done.error().text());
  }

  void on_waiting(std::function<void()> callback) override {
    const std::lock_guard lock{mutex_};
    on_waiting_ = std::move(callback);
  }

  Status attach() override;
  Status hold() override;
  void mark(Epoch epoch) override;
  void release(Epoch upto) override;
  void pass() override;
  void discard() override;
  Status detach() override;
  OutputStats stats() const override;

 private:
  enum class Path { direct, held, draining, choked };  ///< where the guest's packets go

  void io_loop(const std::stop_token& stop);
  // With mutex_ held:
  [[nodiscard]] bool drained() const;
  [[nodiscard]] bool tell_waiting();
  void finish_draining();
  void divert_again();
  void wake() const noexcept;

  PlugOptions options_;
  mutable std::mutex mutex_{};
  std::condition_variable changed_{};
  std::vector<Held> ports_{};
  std::function<void()> on_waiting_{};
  bool attached_{false};
  bool waiting_told_{false};
  Path path_{Path::direct};
  Clock::time_point draining_until_{};
  Fd wake_{};
  PlugWatch watch_{};
  std::jthread io_{};
};

Status PlugBuffer::attach() {
  const std::lock_guard lock{mutex_};
  if (attached_) return {};
  if (auto cleared = clear_plugs(options_.guest); !cleared) return cleared;
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return fail_errno(errno, "cannot create an eventfd");
  auto watch = PlugWatch::open();
  if (!watch) return std::unexpected(watch.error());
  watch_ = std::move(*watch);
  std::vector<Held> ports;
  Status result{};
  for (const auto& interface : options_.interfaces) {
    auto port = PlugPort::create(options_.guest, interface, options_.hold_bytes_max);
    if (!port) {
      result = std::unexpected(port.error());
      break;
    }
    auto tap = PlugTap::open(interface, (*port)->interface_index());
    if (!tap) {
      result = std::unexpected(tap.error());
      std::ignore = (*port)->remove();
      break;
    }
    ports.push_back(Held{std::move(*port), std::move(*tap)});
  }
  if (!result) {
    for (auto& held : ports) std::ignore = held.port->remove();
    return result;
  }
  ports_ = std::move(ports);
  path_ = Path::direct;
  attached_ = true;
  io_ = std::jthread{[this](const std::stop_token& stop) { io_loop(stop); }};
  return {};
}

Status PlugBuffer::hold() {
  const std::lock_guard lock{mutex_};
  if (path_ == Path::choked) return fail(Errc::refused, "this host's guest has been superseded");
  if (path_ == Path::draining) {
    // Packets that plug did not count must be out before it counts again, or as many others would stay behind for good.
    const auto until = Clock::now() + drain_in_pause_max;
    while (!drained() && Clock::now() < until) std::this_thread::sleep_for(drain_step);
  }
  for (auto& held : ports_) {
    held.epochs = {};
    std::ignore = held.tap.drain();
    held.unmarked = false;
    Status done = held.port->tell(PlugCommand::buffer);
    if (done) done = held.port->divert();
    if (!done) {
      for (auto& other : ports_) std::ignore = other.port->tell(PlugCommand::release_all);
      path_ = Path::draining;
      draining_until_ = Clock::now() + drain_max;
      wake();
      return std::unexpected(done.error().in("holding the guest's output"));
    }
  }
  path_ = Path::held;
  waiting_told_ = false;
  wake();
  return {};
}

void PlugBuffer::mark(Epoch epoch) {
  const std::lock_guard lock{mutex_};
  if (path_ != Path::held) return;
  for (auto& held : ports_) {
    if (!held.epochs.free()) continue;
    if (const Status done = held.port->tell(PlugCommand::buffer); !done) {
      spdlog::error("{}: packets wait for the next checkpoint", done.error().text());
      continue;
    }
    held.epochs.marked(epoch);
    std::ignore = held.tap.drain();
    held.unmarked = false;
  }
  waiting_told_ = false;
  wake();
}

void PlugBuffer::release(Epoch upto) {
  const std::lock_guard lock{mutex_};
  if (path_ != Path::held) return;
  bool late = false;
  for (auto& held : ports_) {
    if (!held.epochs.releasable(upto)) continue;
    if (const Status done = held.port->tell(PlugCommand::release_one); !done) {
      spdlog::error("{}: packets wait for the next release", done.error().text());
      continue;
    }
    held.epochs.released();
    late = late || held.unmarked;
  }
  if (late) wake();
}

void PlugBuffer::pass() {
  const std::lock_guard lock{mutex_};
  if (path_ != Path::held) return;
  for (auto& held : ports_)
    if (const Status done = held.port->tell(PlugCommand::release_all); !done)
      spdlog::error("{}", done.error().text());
  path_ = Path::draining;
  draining_until_ = Clock::now() + drain_max;
  wake();
}

void PlugBuffer::discard() {
  const std::lock_guard lock{mutex_};
  if (!attached_) return;
  path_ = Path::choked;
  for (auto& held : ports_) {
    Status done = held.port->choke();
    if (done) done = held.port->divert();
    if (!done) spdlog::warn("{}", done.error().text());
  }
}

Status PlugBuffer::detach() {
  {
    std::unique_lock lock{mutex_};
    if (!attached_) return {};
    lock.unlock();
    pass();
    lock.lock();
    changed_.wait_for(lock, drain_max + milliseconds{500},
                      [&] { return path_ == Path::direct || path_ == Path::choked; });
    attached_ = false;
  }
  io_.request_stop();
  wake();
  io_ = {};
  const std::lock_guard lock{mutex_};
  Status result{};
  for (auto& held : ports_)
    if (auto removed = held.port->remove(); !removed && result) result = removed;
  ports_.clear();
  path_ = Path::direct;
  return result;
}

OutputStats PlugBuffer::stats() const {
  const std::lock_guard lock{mutex_};
  OutputStats out;
  for (const auto& held : ports_) {
    const auto now = held.port->counts();
    if (!now) continue;  // its interface has gone with the guest
    out.held_packets += now->held_packets;
    out.held_bytes += now->held_bytes;
    out.released_packets += now->passed_packets;
    out.released_bytes += now->passed_bytes;
    out.dropped_packets += now->dropped_packets;
  }
  return out;
}

bool PlugBuffer::drained() const {
  for (const auto& held : ports_)
    if (const auto now = held.port->counts(); now && now->held_packets != 0) return false;
  return true;
}

bool PlugBuffer::tell_waiting() {
  if (path_ != Path::held) return false;
  bool waiting = false;
  for (auto& held : ports_) {
    if (held.tap.drain()) held.unmarked = true;
    // While plug cannot take a mark a checkpoint would not help; release() comes back to it.
    if (held.unmarked && held.epochs.free()) waiting = true;
  }
  if (!waiting || waiting_told_) return false;
  waiting_told_ = true;
  return static_cast<bool>(on_waiting_);
}

/// Packets must not overtake those that were held: the way past us is opened when plug is empty.
void PlugBuffer::finish_draining() {
  if (path_ != Path::draining || (!drained() && Clock::now() < draining_until_)) return;
  for (auto& held : ports_)
    if (const Status done = held.port->undivert(); !done) spdlog::warn("{}", done.error().text());
  path_ = Path::direct;
  changed_.notify_all();
}

/// What has left unheld cannot be called back; the checkpoint that is asked for makes it true as soon as can be.
void PlugBuffer::divert_again() {
  if (!watch_.drain()) return;
  for (auto& held : ports_) {
    const auto again = held.port->divert_again();
    if (!again) {
      spdlog::error("the output of '{}' is no longer held: {}", held.port->interface(), again.error().text());
    } else if (*again) {
      spdlog::error(
          "somebody took the ingress filter of '{}' away; it is there again, but packets may have left "
          "before their commit",
          held.port->interface());
      held.unmarked = true;
    }
  }
}

void PlugBuffer::wake() const noexcept {
  const std::uint64_t one = 1;
  if (wake_) static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

void PlugBuffer::io_loop(const std::stop_token& stop) {
  std::vector<pollfd> fds;
  while (!stop.stop_requested()) {
    fds.assign({pollfd{wake_.get(), POLLIN, 0}, pollfd{watch_.fd(), POLLIN, 0}});
    int patience_ms = -1;
    {
      const std::lock_guard lock{mutex_};
      // Once told, nothing more is to be heard before the next mark: a busy guest's packets wake nobody.
      for (auto& held : ports_)
        fds.push_back({path_ == Path::held && !held.unmarked ? held.tap.fd() : -1, POLLIN, 0});
      if (path_ == Path::draining) patience_ms = static_cast<int>(drain_step.count());
    }
    if (::poll(fds.data(), fds.size(), patience_ms) < 0 && errno != EINTR) {
      spdlog::error("output buffer: poll failed: {}", errno);
      return;
    }
    std::uint64_t count = 0;
    if (fds[0].revents != 0) static_cast<void>(!::read(wake_.get(), &count, sizeof count));
    std::function<void()> callback;
    {
      const std::lock_guard lock{mutex_};
      divert_again();
      finish_draining();
      if (tell_waiting()) callback = on_waiting_;
    }
    if (callback) callback();
  }
}

}  // namespace

std::unique_ptr<OutputBuffer> make_plug(PlugOptions options) {
  return std::make_unique<PlugBuffer>(std::move(options));
}

Status clear_plugs(const std::string& guest) {
  return remove_plugs_of(guest);
}

}  // namespace remus::output
