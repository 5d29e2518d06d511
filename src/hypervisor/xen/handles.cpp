#include "hypervisor/xen/handles.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>

namespace remus::hypervisor::xen {

struct ToolLogCallbacks {
  static void message(xentoollog_logger* logger, xentoollog_level level, int errnoval, const char* context,
                      const char* format, va_list arguments) __attribute__((format(printf, 5, 0))) {
    char text[512];
    if (std::vsnprintf(text, sizeof text, format, arguments) < 0) return;
    const std::string line = errnoval < 0 ? fmt::format("{}: {}", context == nullptr ? "xen" : context, text)
                                          : fmt::format("{}: {}: {}", context == nullptr ? "xen" : context,
                                                        text, std::generic_category().message(errnoval));
    spdlog::debug("xen: {}", line);
    if (level < XTL_ERROR) return;
    auto* self = static_cast<ToolLog*>(logger);
    const std::lock_guard lock{self->mutex_};
    self->last_error_ = line;
  }
  static void progress(xentoollog_logger*, const char*, const char*, int, unsigned long, unsigned long) {}
  static void destroy(xentoollog_logger*) {}
};

ToolLog::ToolLog()
    : xentoollog_logger{ToolLogCallbacks::message, ToolLogCallbacks::progress, ToolLogCallbacks::destroy} {}

std::string ToolLog::take_last_error() {
  const std::lock_guard lock{mutex_};
  return std::exchange(last_error_, {});
}

Result<std::shared_ptr<Handles>> Handles::open() {
  std::shared_ptr<Handles> handles{new Handles};
  const auto failed = [](std::string_view what) {
    const int code = errno;
    if (code == EACCES || code == EPERM)
      return fail(Errc::denied, fmt::format("{}: {}", what, std::generic_category().message(code)),
                  "run it as root");
    return fail(Errc::unsupported, fmt::format("{}: {}", what, std::generic_category().message(code)),
                "this must run in the privileged domain (dom0) of a Xen host");
  };
  handles->xc_ = xc_interface_open(&handles->log_, &handles->log_, 0);
  if (handles->xc_ == nullptr) return failed("cannot reach the Xen hypervisor");
  handles->memory_ = xenforeignmemory_open(&handles->log_, 0);
  if (handles->memory_ == nullptr) return failed("cannot open Xen's foreign memory device");
  handles->events_ = xenevtchn_open(&handles->log_, 0);
  if (handles->events_ == nullptr) return failed("cannot open Xen's event channel device");
  handles->devices_ = xendevicemodel_open(&handles->log_, 0);
  if (handles->devices_ == nullptr) return failed("cannot open Xen's way to device models");
  handles->store_ = xs_open(0);
  if (handles->store_ == nullptr)
    return fail(Errc::unreachable,
                fmt::format("cannot reach xenstored: {}", std::generic_category().message(errno)),
                "is xenstored running in this dom0?");
  return handles;
}

Handles::~Handles() {
  if (store_ != nullptr) xs_close(store_);
  if (devices_ != nullptr) xendevicemodel_close(devices_);
  if (events_ != nullptr) xenevtchn_close(events_);
  if (memory_ != nullptr) xenforeignmemory_close(memory_);
  if (xc_ != nullptr) xc_interface_close(xc_);
}

std::unexpected<Error> Handles::fail_call(std::string_view what, std::string fix) {
  const int code = errno;
  const std::string said = log_.take_last_error();
  return fail(Errc::io,
              fmt::format("{}: {}{}", what, std::generic_category().message(code),
                          said.empty() ? said : fmt::format(" ({})", said)),
              std::move(fix));
}

std::optional<std::string> Handles::read(const std::string& path) const {
  unsigned length = 0;
  char* value = static_cast<char*>(xs_read(store_, XBT_NULL, path.c_str(), &length));
  if (value == nullptr) return std::nullopt;
  std::string text{value, length};
  std::free(value);
  return text;
}

bool Handles::write(const std::string& path, std::string_view value) const {
  return xs_write(store_, XBT_NULL, path.c_str(), value.data(), static_cast<unsigned>(value.size()));
}

std::string Handles::domain_path(std::uint32_t domid) {
  return fmt::format("/local/domain/{}", domid);
}

std::optional<DomainState> domain_state(const Handles& handles, std::uint32_t domid) {
  xc_domaininfo_t info{};
  if (xc_domain_getinfolist(handles.xc(), domid, 1, &info) != 1 || info.domain != domid) return std::nullopt;
  DomainState state;
  state.hvm = (info.flags & XEN_DOMINF_hvm_guest) != 0;
  state.dying = (info.flags & XEN_DOMINF_dying) != 0;
  state.paused = (info.flags & XEN_DOMINF_paused) != 0;
  state.shut_down = (info.flags & XEN_DOMINF_shutdown) != 0;
  state.reason = (info.flags >> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask;
  state.pages = info.tot_pages;
  state.shared_info_frame = info.shared_info_frame;
  state.vcpu_id_max = info.max_vcpu_id;
  state.vcpus_online = info.nr_online_vcpus;
  return state;
}

}  // namespace remus::hypervisor::xen
