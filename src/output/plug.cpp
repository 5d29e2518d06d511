#include "output/plug.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <tuple>

#include "output/plug_epochs.hpp"
#include "output/plug_port.hpp"
#include "output/plug_tap.hpp"
#include "output/plug_watch.hpp"
#include "output/task_queue.hpp"

namespace remus::output {
namespace {

using checkpoint::Epoch;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto drain_max = milliseconds{3000};
constexpr auto drain_in_pause_max = milliseconds{20};
constexpr auto drain_step = milliseconds{1};
/// How long a guest stands still for the kernel's answer, at most.
constexpr auto pause_patience = milliseconds{500};
constexpr auto stats_patience = milliseconds{50};

struct Held {
  std::unique_ptr<PlugPort> port;
  PlugTap tap;
  PlugEpochs epochs{};
  bool unmarked{false};  ///< something came since plug's last mark
};

/// The kernel is asked by one thread, io_, in the order in which it was to be asked: a guard's other threads, and the
/// guest, wait for it only so long.
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
  Status mark(Epoch epoch) override;
  void release(Epoch upto) override;
  void pass() override;
  void discard() override;
  Status detach() override;
  OutputStats stats() const override;

 private:
  enum class Path { direct, held, draining, choked };  ///< where the guest's packets go

  [[nodiscard]] std::shared_ptr<TaskQueue> tasks() const {
    const std::lock_guard lock{mutex_};
    return tasks_;
  }
  // io_'s, which alone has ports_ from attach() to detach():
  void io_loop(const std::stop_token& stop, TaskQueue& tasks);
  [[nodiscard]] Status hold_now();
  [[nodiscard]] Status mark_now(Epoch epoch);
  void release_now(Epoch upto);
  void pass_now();
  void discard_now();
  void count_now() const;
  void take(Path path);
  [[nodiscard]] bool drained() const;
  [[nodiscard]] bool tell_waiting();
  void finish_draining();
  void divert_again();

  PlugOptions options_;
  std::vector<Held> ports_{};
  Clock::time_point draining_until_{};
  PlugWatch watch_{};
  bool waiting_told_{false};

  mutable std::mutex mutex_{};
  std::condition_variable changed_{};
  std::function<void()> on_waiting_{};
  Path path_{Path::direct};  ///< changed by io_ alone
  mutable OutputStats stats_{};
  mutable std::atomic<bool> counting_{false};  ///< asked for, not begun

  std::shared_ptr<TaskQueue> tasks_{};  ///< from attach() to detach()
  std::jthread io_{};
};

Status PlugBuffer::attach() {
  if (tasks()) return {};
  if (auto cleared = clear_plugs(options_.guest); !cleared) return cleared;
  auto queue = TaskQueue::create();
  if (!queue) return std::unexpected(queue.error());
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
  const std::lock_guard lock{mutex_};
  path_ = Path::direct;
  counting_ = false;
  tasks_ = std::move(*queue);
  io_ = std::jthread{[this, tasks = tasks_](const std::stop_token& stop) { io_loop(stop, *tasks); }};
  return {};
}

Status PlugBuffer::hold() {
  const auto tasks = this->tasks();
  if (!tasks) return fail(Errc::internal, "hold() without attach() before it");
  if (const auto done = tasks->run(pause_patience, [this] { return hold_now(); })) return *done;
  pass();  // behind it: whoever was told that nothing is held shall be right
  return fail(Errc::timeout, "holding the guest's output: the kernel has not done it in time",
              "something keeps this host's network configuration busy; it is tried again");
}

Status PlugBuffer::mark(Epoch epoch) {
  const auto tasks = this->tasks();
  if (!tasks) return {};
  if (const auto done = tasks->run(pause_patience, [this, epoch] { return mark_now(epoch); })) return *done;
  return fail(Errc::timeout, "marking the guest's output: the kernel has not done it in time",
              "something keeps this host's network configuration busy; it is tried again");
}

void PlugBuffer::release(Epoch upto) {
  if (const auto tasks = this->tasks()) tasks->post([this, upto] { release_now(upto); });
}

void PlugBuffer::pass() {
  if (const auto tasks = this->tasks()) tasks->post([this] { pass_now(); });
}

void PlugBuffer::discard() {
  const auto tasks = this->tasks();
  if (!tasks) return;
  const auto done = tasks->run(drain_max, [this]() -> Status {
    discard_now();
    return {};
  });
  if (!done)
    spdlog::warn("the output of a superseded guest is not thrown away yet: the kernel is slow to do it");
}

Status PlugBuffer::detach() {
  const auto tasks = this->tasks();
  if (!tasks) return {};
  pass();
  // Behind that: when it has begun, path_ tells how it ends.
  std::ignore = tasks->run(drain_max, [] { return Status{}; });
  {
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, drain_max + milliseconds{500},
                      [&] { return path_ == Path::direct || path_ == Path::choked; });
  }
  io_.request_stop();
  tasks->wake();
  io_ = {};
  Status result{};
  for (auto& held : ports_)
    if (auto removed = held.port->remove(); !removed && result) result = removed;
  ports_.clear();
  const std::lock_guard lock{mutex_};
  tasks_.reset();
  path_ = Path::direct;
  return result;
}

/// Those of a moment ago, if the kernel is slow to tell.
OutputStats PlugBuffer::stats() const {
  // While one such question waits for the kernel, no more are put behind it.
  if (const auto tasks = this->tasks(); tasks && !counting_.exchange(true))
    std::ignore = tasks->run(stats_patience, [this]() -> Status {
      counting_ = false;
      count_now();
      return {};
    });
  const std::lock_guard lock{mutex_};
  return stats_;
}

// --- io_ ---

void PlugBuffer::take(Path path) {
  {
    const std::lock_guard lock{mutex_};
    path_ = path;
  }
  changed_.notify_all();
}

Status PlugBuffer::hold_now() {
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
      draining_until_ = Clock::now() + drain_max;
      take(Path::draining);
      return std::unexpected(done.error().in("holding the guest's output"));
    }
  }
  take(Path::held);
  waiting_told_ = false;
  return {};
}

Status PlugBuffer::mark_now(Epoch epoch) {
  if (path_ != Path::held) return {};
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
  return {};
}

void PlugBuffer::release_now(Epoch upto) {
  if (path_ != Path::held) return;
  for (auto& held : ports_) {
    if (!held.epochs.releasable(upto)) continue;
    if (const Status done = held.port->tell(PlugCommand::release_one); !done)
      spdlog::error("{}: packets wait for the next release", done.error().text());
    else
      held.epochs.released();
  }
}

void PlugBuffer::pass_now() {
  if (path_ != Path::held) return;
  for (auto& held : ports_)
    if (const Status done = held.port->tell(PlugCommand::release_all); !done)
      spdlog::error("{}", done.error().text());
  draining_until_ = Clock::now() + drain_max;
  take(Path::draining);
}

void PlugBuffer::discard_now() {
  take(Path::choked);
  for (auto& held : ports_) {
    Status done = held.port->choke();
    if (done) done = held.port->divert();
    if (!done) spdlog::warn("{}", done.error().text());
  }
}

void PlugBuffer::count_now() const {
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
  const std::lock_guard lock{mutex_};
  stats_ = out;
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
    // While plug cannot take a mark a checkpoint would not help; release comes back to it.
    if (held.unmarked && held.epochs.free()) waiting = true;
  }
  if (!waiting || waiting_told_) return false;
  waiting_told_ = true;
  return true;
}

/// Packets must not overtake those that were held: the way past us is opened when plug is empty.
void PlugBuffer::finish_draining() {
  if (path_ != Path::draining || (!drained() && Clock::now() < draining_until_)) return;
  for (auto& held : ports_)
    if (const Status done = held.port->undivert(); !done) spdlog::warn("{}", done.error().text());
  take(Path::direct);
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

void PlugBuffer::io_loop(const std::stop_token& stop, TaskQueue& tasks) {
  std::vector<pollfd> fds;
  while (!stop.stop_requested()) {
    fds.assign({pollfd{tasks.fd(), POLLIN, 0}, pollfd{watch_.fd(), POLLIN, 0}});
    // Once told, nothing more is to be heard before the next mark: a busy guest's packets wake nobody.
    for (auto& held : ports_)
      fds.push_back({path_ == Path::held && !held.unmarked ? held.tap.fd() : -1, POLLIN, 0});
    const int patience_ms = path_ == Path::draining ? static_cast<int>(drain_step.count()) : -1;
    if (::poll(fds.data(), fds.size(), patience_ms) < 0 && errno != EINTR) {
      spdlog::error("output buffer: poll failed: {}", errno);
      return;
    }
    if (fds[0].revents != 0) tasks.serve();
    divert_again();
    finish_draining();
    if (!tell_waiting()) continue;
    std::function<void()> callback;
    {
      const std::lock_guard lock{mutex_};
      callback = on_waiting_;
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
