#include "hypervisor/xen/device_model.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

namespace remus::hypervisor::xen {

using json = nlohmann::json;

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t state_bytes_max = 64U << 20;
constexpr int pipe_bytes_wanted =
    4 << 10;  // the least there is; the smallest state seen has 10 KiB (HVM with PV drivers)
constexpr std::size_t context_bytes_usual = 256U << 10;
constexpr int look_interval_ms = 20;
// A QEMU that has not stopped within the first is blocked for long, or for good.
constexpr std::chrono::seconds outlive_soon{60};
constexpr int outlive_look_ms = 1;
constexpr int outlive_late_look_ms = 100;
constexpr std::chrono::milliseconds patience{5000};
constexpr unsigned arm_tries_max = 16;
constexpr const char* save_command = "xen-save-devices-state";

struct FreeStrings {
  void operator()(char** strings) const noexcept { std::free(static_cast<void*>(strings)); }
};

void append_text(DeviceStateWriter& state, std::string_view text) {
  state.append(std::as_bytes(std::span{text}));
  state.append(bytes_of('\0'));
}

/// Keeps a pipe until the device model writes to it, which it may yet do: by then our descriptor's number could be
/// another file's, which QEMU would truncate, and without a reader it would wait for one for ever. The guest runs meanwhile,
/// so its ioreq server must not stay disabled when QEMU stops after all.
void outlive(Fd read_end, Fd write_end, std::function<bool()> enable) {
  std::thread{[read_end = std::move(read_end), write_end = std::move(write_end), enable = std::move(enable)] {
    const auto soon = Clock::now() + outlive_soon;
    pollfd ready{read_end.get(), POLLIN, 0};
    while (::poll(&ready, 1, Clock::now() < soon ? outlive_look_ms : outlive_late_look_ms) <= 0)
      static_cast<void>(enable());
  }}.detach();
}

}  // namespace

Result<std::shared_ptr<qemu::Qmp>> connect_model(std::uint32_t domid) {
  auto monitor = qemu::Qmp::connect(fmt::format("/var/run/xen/qmp-libxenstat-{}", domid));
  if (!monitor)
    return std::unexpected(monitor.error().in(fmt::format("the device model of domain {}", domid)));
  return monitor;
}

Status DeviceModel::open(std::shared_ptr<qemu::Qmp> monitor) {
  if (monitor_ && !monitor_->closed()) return {};
  shared_ = monitor != nullptr;
  if (!shared_) {
    auto connected = connect_model(domid_);
    if (!connected) return std::unexpected(connected.error());
    monitor = std::move(*connected);
  }
  monitor_ = std::move(monitor);
  context_.resize(context_bytes_usual);
  // Without it, its first bytes tell, half of its state later.
  if (!opens_) opens_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  remembers_places_ = !places().empty();
  return {};
}

std::vector<std::string> DeviceModel::places() const {
  unsigned count = 0;
  const std::unique_ptr<char*, FreeStrings> entries{
      xs_directory(handles_->store(), XBT_NULL, (places_path() + "/physmap").c_str(), &count)};
  if (!entries) return {};
  const std::span names{entries.get(), count};
  return {names.begin(), names.end()};
}

std::string DeviceModel::places_path() const {
  return fmt::format("/local/domain/0/device-model/{}", domid_);
}

Status DeviceModel::log_writes(bool on) {
  if (on) mark_.fields().model_logging = 1;
  auto done = monitor_->execute("xen-set-global-dirty-log", {{"enable", on}});
  if (!done) return std::unexpected(done.error().in("the device model's log of writes"));
  logging_ = on;
  if (!on) mark_.fields().model_logging = 0;
  return on && !hold_ ? arm() : Status{};
}

Status DeviceModel::arm() {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return fail_errno(errno, "cannot make a pipe for the device model's state");
  read_end_.reset(ends[0]);
  write_end_.reset(ends[1]);
  const int bytes = ::fcntl(write_end_.get(), F_SETPIPE_SZ, pipe_bytes_wanted);
  if (bytes <= 0) return fail_errno(errno, "cannot set the size of a pipe");
  pipe_bytes_ = static_cast<std::size_t>(bytes);
  const std::string path = fmt::format("/proc/{}/fd/{}", ::getpid(), write_end_.get());
  pipe_watch_ = opens_ ? ::inotify_add_watch(opens_.get(), path.c_str(), IN_OPEN) : -1;
  if (auto sent = monitor_->arm(save_command, {{"filename", path}, {"live", false}}); !sent)
    return std::unexpected(sent.error().in("the device model's state"));
  armed_ = true;
  return {};
}

Status DeviceModel::stop() {
  whole_ = false;
  if (hold_) {
    if (auto held = stop_held(); !held) return held;
  } else if (!armed_) {
    if (auto ready = arm(); !ready) return ready;
  }
  auto sent = monitor_->fire();
  // Whoever shares the monitor may have taken back what was armed, and may do so again in between.
  for (unsigned tries = 0; !sent && sent.error().kind == Errc::invalid && tries < arm_tries_max; ++tries) {
    if (auto ready = arm(); !ready) return ready;
    sent = monitor_->fire();
  }
  armed_ = false;
  if (!sent) return std::unexpected(sent.error().in("stopping the device model"));
  stopped_ = true;
  return await_standing();
}

Status DeviceModel::stop_held() {
  // Stopped by a command of its own, it is not let go at the end of the one that writes its state.
  mark_.fields().model_stopped = 1;
  stopped_ = true;
  if (auto done = monitor_->execute("stop"); !done)
    return std::unexpected(done.error().in("stopping the device model"));
  return arm();
}

bool DeviceModel::opened_by_it() {
  // Earlier pipes' events are there, too: that they are gone.
  alignas(inotify_event) std::array<char, 16 * sizeof(inotify_event)> events{};
  for (;;) {
    const ssize_t got = ::read(opens_.get(), events.data(), events.size());
    if (got <= 0) return false;
    // Of something that is no directory: events without a name, all of one size.
    for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(got);
         at += sizeof(inotify_event)) {
      inotify_event event{};
      std::memcpy(&event, events.data() + at, sizeof event);
      if (event.wd == pipe_watch_ && (event.mask & IN_OPEN) != 0) return true;
    }
  }
}

Status DeviceModel::await_standing() {
  const auto deadline = Clock::now() + patience;
  for (;;) {
    std::array<pollfd, 2> ready{{{read_end_.get(), POLLIN, 0}, {opens_.get(), POLLIN, 0}}};
    if (::poll(ready.data(), ready.size(), look_interval_ms) > 0 &&
        (ready[0].revents != 0 || (ready[1].revents != 0 && opened_by_it())))
      break;
    if (monitor_->fired_is_answered()) {
      auto done = monitor_->await_fired();
      stopped_ = hold_;
      write_end_.reset();
      if (!done) return std::unexpected(done.error().in("the device model's state"));
      return fail(Errc::io, fmt::format("the device model of domain {} wrote no state", domid_));
    }
    if (Clock::now() > deadline)
      return fail(Errc::timeout, fmt::format("the device model of domain {} does not stop", domid_),
                  "its main loop may be blocked, for instance by slow storage");
  }
  write_end_.reset();  // QEMU has its own by now: when that is closed, the state is whole
  return {};
}

Status DeviceModel::save(DeviceStateWriter& state) {
  if (auto saved = save_xenstore(state); !saved) return saved;
  if (auto read = read_state(); !read) return read;
  state.begin(Section::emulator_context);
  state.append(bytes_of(EmulatorHeader{}));
  state.append(std::span{context_}.first(context_bytes_));
  state.end();
  return {};
}

Status DeviceModel::read_state() {
  const auto deadline = Clock::now() + patience;
  context_bytes_ = 0;
  for (;;) {
    if (context_.size() - context_bytes_ < pipe_bytes_) context_.resize(2 * context_.size());
    pollfd ready{read_end_.get(), POLLIN, 0};
    if (::poll(&ready, 1, look_interval_ms) == 0) {
      if (Clock::now() > deadline)
        return fail(Errc::timeout,
                    fmt::format("the device model of domain {} does not finish its state", domid_));
      continue;
    }
    const ssize_t got =
        ::read(read_end_.get(), context_.data() + context_bytes_, context_.size() - context_bytes_);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "cannot read the device model's state");
    if (got == 0) break;
    context_bytes_ += static_cast<std::size_t>(got);
    if (context_bytes_ > state_bytes_max)
      return fail(Errc::io, fmt::format("the device model of domain {} wrote more than {} MiB of state",
                                        domid_, state_bytes_max >> 20));
  }
  whole_ = true;
  // All of it fitted into the pipe: then nothing has kept it from going on while memory was copied.
  if (context_bytes_ <= pipe_bytes_)
    return fail(Errc::unsupported,
                fmt::format("the device model of domain {} has only {} bytes of state, and "
                            "cannot be held by them",
                            domid_, context_bytes_));
  return {};
}

void DeviceModel::let_go() {
  // Where the state was not read, nobody wants it any more: QEMU's write fails, and it goes on.
  if (stopped_ && write_end_) {
    spdlog::warn("the device model of domain {} has not yet done what it was told; its pipe is kept for it",
                 domid_);
    outlive(std::move(read_end_), std::move(write_end_), servers_->enabler());
  }
  read_end_.reset();
  write_end_.reset();
  // Its answer would keep the guest waiting; resume() fetches it, commands are carried out in order.
  if (hold_ && stopped_ && monitor_) static_cast<void>(monitor_->post("cont", json::object()));
}

Status DeviceModel::resume() {
  if (!stopped_) return {};
  auto done = monitor_->await_fired(patience);
  stopped_ = false;
  if (hold_) {
    if (auto going = monitor_->execute("cont"); !going)
      return std::unexpected(going.error().in("letting the device model go on"));
    mark_.fields().model_stopped = 0;
  }
  // Where its state was not read to the end, that is why, and who gave up has said so.
  if (!done && whole_) return std::unexpected(done.error().in("the device model's state"));
  return hold_ || !whole_ ? Status{} : arm();
}

Status DeviceModel::save_xenstore(DeviceStateWriter& state) {
  if (!remembers_places_) return {};
  const std::vector<std::string> entries = places();
  if (entries.empty()) return {};  // stock save writes no record then
  state.begin(Section::emulator_xenstore);
  state.append(bytes_of(EmulatorHeader{}));
  Status result{};
  for (const std::string& entry : entries) {
    for (const char* part : {"start_addr", "size", "name"}) {
      const std::string key = fmt::format("physmap/{}/{}", entry, part);
      const auto value = handles_->read(fmt::format("{}/{}", places_path(), key));
      if (!value) {
        result = fail(Errc::io, fmt::format("xenstore has no {}/{}", places_path(), key));
        break;
      }
      append_text(state, key);
      append_text(state, *value);
    }
    if (!result) break;
  }
  state.end();
  return result;
}

void DeviceModel::close() {
  if (!monitor_) return;
  const auto note = [](const Status& status) {
    if (!status && status.error().kind != Errc::closed) spdlog::warn("{}", status.error().text());
  };
  if (stopped_) {
    let_go();
    note(resume());
  }
  if (logging_) note(log_writes(false));  // takes back what is armed
  stopped_ = false;
  armed_ = false;
  logging_ = false;
  if (!shared_) monitor_->close();
  monitor_.reset();
  read_end_.reset();
  write_end_.reset();
}

Status rescue_device_model(std::uint32_t domid, bool stopped, bool logging) {
  if (!stopped && !logging) return {};
  auto monitor = connect_model(domid);
  if (!monitor) return std::unexpected(monitor.error());
  Status result{};
  if (stopped)
    if (auto done = (*monitor)->execute("cont"); !done) result = std::unexpected(done.error());
  if (logging)
    if (auto done = (*monitor)->execute("xen-set-global-dirty-log", {{"enable", false}}); !done && result)
      result = std::unexpected(done.error());
  return result;
}

}  // namespace remus::hypervisor::xen
