#include "hypervisor/xen/device_model.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <span>
#include <string_view>

namespace remus::hypervisor::xen {

using json = nlohmann::json;

namespace {

constexpr off_t state_bytes_max = 64 << 20;

Result<std::shared_ptr<qemu::Qmp>> connect(std::uint32_t domid) {
  auto monitor = qemu::Qmp::connect(fmt::format("/var/run/xen/qmp-libxenstat-{}", domid));
  if (!monitor)
    return std::unexpected(monitor.error().in(fmt::format("the device model of domain {}", domid)));
  return monitor;
}

struct FreeStrings {
  void operator()(char** strings) const noexcept { std::free(static_cast<void*>(strings)); }
};

void append_text(DeviceStateWriter& state, std::string_view text) {
  state.append(std::as_bytes(std::span{text}));
  state.append(bytes_of('\0'));
}

}  // namespace

Status DeviceModel::open() {
  if (monitor_ && !monitor_->closed()) return {};
  auto monitor = connect(domid_);
  if (!monitor) return std::unexpected(monitor.error());
  monitor_ = *monitor;
  file_.reset(::memfd_create("remus-device-model", MFD_CLOEXEC));
  if (!file_) return fail_errno(errno, "cannot make a memory file for the device model's state");
  path_ = fmt::format("/proc/{}/fd/{}", ::getpid(), file_.get());
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
  return {};
}

Status DeviceModel::stop() {
  // Commands are carried out in order: one wait for both. It writes its state once it has stopped.
  mark_.fields().model_stopped = 1;
  stopped_ = true;
  if (auto sent = monitor_->post("stop", json::object()); !sent)
    return std::unexpected(sent.error().in("stopping the device model"));
  auto done = monitor_->execute("xen-save-devices-state", {{"filename", path_}, {"live", false}});
  if (!done) return std::unexpected(done.error().in("the device model's state"));
  return {};
}

void DeviceModel::let_go() {
  // Its answer would keep the guest waiting; resume() fetches it, commands are carried out in order.
  if (monitor_) static_cast<void>(monitor_->post("cont", json::object()));
}

Status DeviceModel::resume() {
  auto done = monitor_->execute("cont");
  if (!done) return std::unexpected(done.error().in("letting the device model go on"));
  stopped_ = false;
  mark_.fields().model_stopped = 0;
  return {};
}

Status DeviceModel::save(DeviceStateWriter& state) {
  if (auto saved = save_xenstore(state); !saved) return saved;
  struct stat facts {};
  if (::fstat(file_.get(), &facts) != 0) return fail_errno(errno, "cannot look at the device model's state");
  if (facts.st_size <= 0 || facts.st_size > state_bytes_max)
    return fail(Errc::io,
                fmt::format("the device model of domain {} wrote {} bytes of state", domid_, facts.st_size));
  state.begin(Section::emulator_context);
  state.append(bytes_of(EmulatorHeader{}));
  const auto room = state.grow(static_cast<std::size_t>(facts.st_size));
  const ssize_t got = ::pread(file_.get(), room.data(), room.size(), 0);
  state.end();
  if (got != facts.st_size) return fail(Errc::io, "the device model's state could not be read back whole");
  return {};
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
  if (stopped_) note(resume());
  if (logging_) note(log_writes(false));
  stopped_ = false;
  logging_ = false;
  monitor_->close();
  monitor_.reset();
  file_.reset();
}

Status rescue_device_model(std::uint32_t domid, bool stopped, bool logging) {
  if (!stopped && !logging) return {};
  auto monitor = connect(domid);
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
