#include "hypervisor/xen/restorer/custody.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <thread>

namespace remus::hypervisor::xen::restorer {

namespace {

constexpr auto suspend_look_again = std::chrono::seconds{1};
// A device or a name of the old domain may still be held by a backend for a moment.
constexpr auto before_restart = std::chrono::seconds{2};
constexpr const char* dump_directory = "/var/lib/xen/dump";  // where xl puts its core dumps

enum class End { destroyed, shut_down, suspended };

struct Death {
  End end{End::destroyed};
  libxl_shutdown_reason reason{LIBXL_SHUTDOWN_REASON_UNKNOWN};
};

/// The domain's next shutdown or end. Nothing if libxl fails.
std::optional<Death> wait_for_death(libxl_ctx* context, std::uint32_t domid) {
  libxl_evgen_domain_death* watch = nullptr;
  if (libxl_evenable_domain_death(context, domid, 0, &watch) != 0) return std::nullopt;
  std::optional<Death> found;
  while (!found) {
    libxl_event* event = nullptr;
    if (libxl_event_wait(context, &event, LIBXL_EVENTMASK_ALL, nullptr, nullptr) != 0) break;
    if (event->domid == domid && event->type == LIBXL_EVENT_TYPE_DOMAIN_DEATH) found = Death{};
    if (event->domid == domid && event->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN) {
      const auto reason = static_cast<libxl_shutdown_reason>(event->u.domain_shutdown.shutdown_reason);
      found = Death{reason == LIBXL_SHUTDOWN_REASON_SUSPEND ? End::suspended : End::shut_down, reason};
    }
    libxl_event_free(context, event);
  }
  libxl_evdisable_domain_death(context, watch);
  // Others of the same domain may have come meanwhile; they belong to the watch just ended.
  libxl_event* stale = nullptr;
  while (libxl_event_check(context, &stale, LIBXL_EVENTMASK_ALL, nullptr, nullptr) == 0)
    libxl_event_free(context, stale);
  return found;
}

libxl_action_on_shutdown action_for(const libxl_domain_config& config, libxl_shutdown_reason reason) {
  switch (reason) {
    case LIBXL_SHUTDOWN_REASON_POWEROFF: return config.on_poweroff;
    case LIBXL_SHUTDOWN_REASON_REBOOT: return config.on_reboot;
    case LIBXL_SHUTDOWN_REASON_CRASH: return config.on_crash;
    case LIBXL_SHUTDOWN_REASON_WATCHDOG: return config.on_watchdog;
    case LIBXL_SHUTDOWN_REASON_SOFT_RESET: return config.on_soft_reset;
    default: return LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
  }
}

void dump_core(libxl_ctx* context, const libxl_domain_config& config, std::uint32_t domid) {
  const std::string file = fmt::format("{}/{}", dump_directory, config.c_info.name);
  log_line(fmt::format("dumping its core to {}", file));
  if (const int result = libxl_domain_core_dump(context, domid, file.c_str(), nullptr); result != 0)
    log_line(fmt::format("the core dump failed ({})", result));
}

/// Keeps the dead domain under another name and identity, so that it can be looked at.
bool set_aside(libxl_ctx* context, libxl_domain_config& config, std::uint32_t domid) {
  libxl_uuid fresh;
  libxl_uuid_generate(&fresh);
  const std::string suffix = fmt::format("-{:%Y%m%dT%H%MZ}", fmt::gmtime(std::time(nullptr)));
  return libxl_domain_preserve(context, domid, &config.c_info, suffix.c_str(), fresh) == 0;
}

}  // namespace

bool keep(Toolstack& toolstack, DomainConfig& config, std::uint32_t domid) {
  libxl_ctx* const context = toolstack.get();
  for (;;) {
    const auto death = wait_for_death(context, domid);
    if (!death) {
      log_line(fmt::format("domain {} can no longer be watched", domid));
      return false;
    }
    if (death->end == End::destroyed) {
      log_line(fmt::format("domain {} has been destroyed", domid));
      return true;
    }
    if (death->end == End::suspended) {
      std::this_thread::sleep_for(suspend_look_again);
      continue;
    }
    libxl_action_on_shutdown action = action_for(*config, death->reason);
    log_line(fmt::format("domain {} has shut down ({}): {}", domid,
                         libxl_shutdown_reason_to_string(death->reason),
                         libxl_action_on_shutdown_to_string(action)));
    if (action == LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_DESTROY ||
        action == LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_RESTART) {
      dump_core(context, *config, domid);
      action = action == LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_DESTROY ? LIBXL_ACTION_ON_SHUTDOWN_DESTROY
                                                                   : LIBXL_ACTION_ON_SHUTDOWN_RESTART;
    }
    if (action == LIBXL_ACTION_ON_SHUTDOWN_PRESERVE) return true;
    if (action == LIBXL_ACTION_ON_SHUTDOWN_DESTROY) return libxl_domain_destroy(context, domid, nullptr) == 0;

    // All others start it anew, with the devices it has now.
    config.reload(context, domid);
    int result = 0;
    if (action == LIBXL_ACTION_ON_SHUTDOWN_SOFT_RESET) {
      result = libxl_domain_soft_reset(context, config.get(), domid, nullptr, nullptr);
    } else {
      if (action == LIBXL_ACTION_ON_SHUTDOWN_RESTART_RENAME) {
        if (!set_aside(context, *config, domid)) return false;
      } else if (libxl_domain_destroy(context, domid, nullptr) != 0) {
        return false;
      }
      std::this_thread::sleep_for(before_restart);
      config->c_info.domid = INVALID_DOMID;
      result = libxl_domain_create_new(context, config.get(), &domid, nullptr, nullptr);
    }
    if (result == 0) result = libxl_domain_unpause(context, domid, nullptr);
    if (result != 0) {
      log_line(fmt::format("{} cannot be started again ({})", config->c_info.name, result));
      return false;
    }
    log_line(fmt::format("{} has been started again as domain {}", config->c_info.name, domid));
  }
}

}  // namespace remus::hypervisor::xen::restorer
