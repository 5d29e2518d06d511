#include "hypervisor/xen/restorer/restore.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <vector>

#include "hypervisor/xen/restorer/vifs.hpp"

namespace remus::hypervisor::xen::restorer {

namespace {

constexpr int stream_fd = 0;
constexpr int control_fd = 3;
constexpr std::size_t line_bytes_max = 256;

class Control final {
 public:
  void say(const std::string& text) {
    const std::string line = text + "\n";
    // A guard that does not listen is as good as gone; its end is seen by wait_for_run().
    static_cast<void>(::send(control_fd, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  }

  /// "run", or the guard's end.
  void wait_for_run() {
    std::string line;
    char c = 0;
    while (line.size() < line_bytes_max) {
      const ssize_t got = ::read(control_fd, &c, 1);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return log_line("the guard is gone; the guest is run all the same");
      if (c == '\n') {
        if (line == "run") return;
        line.clear();
      } else {
        line.push_back(c);
      }
    }
  }
};

/// Turns libxl's event loop until the operation has completed; its result.
int complete(libxl_ctx* context) {
  std::vector<pollfd> fds(16);
  for (;;) {
    libxl_event* event = nullptr;
    while (libxl_event_check(context, &event, LIBXL_EVENTMASK_ALL, nullptr, nullptr) == 0) {
      const bool ours = event->type == LIBXL_EVENT_TYPE_OPERATION_COMPLETE;
      const int result = ours ? event->u.operation_complete.rc : 0;
      libxl_event_free(context, event);
      if (ours) return result;
    }
    timeval now{};
    ::gettimeofday(&now, nullptr);
    int count = static_cast<int>(fds.size());
    int timeout_ms = -1;
    const int ready = libxl_osevent_beforepoll(context, &count, fds.data(), &timeout_ms, now);
    if (ready == ERROR_BUFFERFULL) {
      fds.resize(static_cast<std::size_t>(count));
      continue;
    }
    if (ready != 0) return ready;
    if (::poll(fds.data(), static_cast<nfds_t>(count), timeout_ms) < 0 && errno != EINTR) return ERROR_FAIL;
    ::gettimeofday(&now, nullptr);
    libxl_osevent_afterpoll(context, count, fds.data(), now);
  }
}

}  // namespace

std::optional<std::uint32_t> restore(Toolstack& toolstack, DomainConfig& config, const std::string& name) {
  Control control;
  libxl_ctx* const context = toolstack.get();
  const std::string incoming = config->c_info.name;
  VifsAhead vifs{context, config};
  const auto failed = [&](const std::string& what) {
    control.say("failed " + what);
    return std::nullopt;
  };

  libxl_domain_restore_params params;
  libxl_domain_restore_params_init(&params);
  params.checkpointed_stream = LIBXL_CHECKPOINTED_STREAM_NONE;
  params.stream_version = 2;
  libxl_asyncop_how how{};
  std::uint32_t domid = INVALID_DOMID;
  const int begun =
      libxl_domain_create_restore(context, config.get(), &domid, stream_fd, -1, &params, &how, nullptr);
  libxl_domain_restore_params_dispose(&params);
  if (begun != 0) return failed(fmt::format("libxl does not begin the restore ({})", begun));
  // libxl has made the domain by now, unless it has failed; it tells the number only at the end.
  if (const auto made = toolstack.domid_of(incoming)) {
    control.say(fmt::format("made {}", *made));
    if (const int result = vifs.attach(*made); result != 0) {
      // Its stream ends, so the restore does, and libxl destroys what it has made. Not closed: libxl is
      // polling it.
      ::shutdown(stream_fd, SHUT_RDWR);
      complete(context);
      return failed(fmt::format("a vif cannot be attached ({})", result));
    }
    control.say("created");
  }
  if (const int result = complete(context); result != 0)
    return failed(fmt::format("libxl cannot restore the domain ({})", result));
  if (const int result = vifs.record(domid); result != 0)
    log_line(fmt::format("the vifs are missing in the stored configuration ({})", result));
  if (const int result = libxl_domain_rename(context, domid, incoming.c_str(), name.c_str()); result != 0) {
    libxl_domain_destroy(context, domid, nullptr);
    return failed(fmt::format("the domain cannot be named {} ({})", name, result));
  }
  config.set_name(name);
  control.say("restored");
  control.wait_for_run();
  if (const int result = libxl_domain_unpause(context, domid, nullptr); result != 0) {
    libxl_domain_destroy(context, domid, nullptr);
    return failed(fmt::format("the domain cannot be unpaused ({})", result));
  }
  control.say("running");
  ::close(control_fd);
  return domid;
}

}  // namespace remus::hypervisor::xen::restorer
