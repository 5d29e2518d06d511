#include "hypervisor/xen/suspender.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace remus::hypervisor::xen {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds look_interval{
    50};  // a guest that powers off while it is asked to suspend gives us no event
constexpr milliseconds late_patience{30'000};
constexpr milliseconds withdrawal_patience{500};
constexpr unsigned pause_tries_max = 100;
constexpr const char* port_node = "/remus-suspend-port";

std::string_view reason_text(unsigned reason) {
  switch (reason) {
    case SHUTDOWN_poweroff: return "has powered off";
    case SHUTDOWN_reboot: return "reboots";
    case SHUTDOWN_suspend: return "is suspended";
    case SHUTDOWN_crash: return "has crashed";
    case SHUTDOWN_watchdog: return "was ended by its watchdog";
    default: return "has shut down";
  }
}

}  // namespace

Suspender::Suspender(std::shared_ptr<Handles> handles, std::shared_ptr<IoreqServers> servers,
                     const DomainFacts& facts, SessionMark& mark)
    : handles_{std::move(handles)},
      servers_{std::move(servers)},
      domid_{facts.domid},
      cooperative_{facts.cooperative},
      device_model_{facts.device_model()},
      mark_{mark},
      control_{Handles::domain_path(domid_) + "/control/shutdown"},
      interrupt_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {}

Suspender::~Suspender() {
  close();
}

Status Suspender::open() {
  if (!interrupt_) return fail_errno(EMFILE, "cannot make an eventfd");
  if (cooperative_ && event_port_ < 0) return open_events();
  if (device_model_) servers_->open();
  return {};
}

Result<std::uint32_t> Suspender::port_in_guest() {
  // A port of an earlier session is used again: the guest's table of ports has a bound, and only the guest
  // can close them.
  const std::string node = Handles::domain_path(domid_) + port_node;
  if (const auto text = handles_->read(node)) {
    xc_evtchn_status_t status{};
    status.dom = static_cast<domid_t>(domid_);
    const auto [end, bad] = std::from_chars(text->data(), text->data() + text->size(), status.port);
    if (bad == std::errc{} && end == text->data() + text->size() &&
        xc_evtchn_status(handles_->xc(), &status) == 0 && status.status == EVTCHNSTAT_unbound &&
        status.u.unbound.dom == 0)
      return status.port;
  }
  const int port = xc_evtchn_alloc_unbound(handles_->xc(), domid_, 0);
  if (port <= 0)
    return handles_->fail_call(fmt::format("cannot make an event channel with domain {}", domid_));
  static_cast<void>(handles_->write(node, std::to_string(port)));
  return static_cast<std::uint32_t>(port);
}

Status Suspender::open_events() {
  const int offered = xs_suspend_evtchn_port(static_cast<int>(domid_));
  by_event_ = offered > 0;
  auto port = by_event_ ? Result<std::uint32_t>{static_cast<std::uint32_t>(offered)} : port_in_guest();
  if (!port) return std::unexpected(port.error());
  const auto bound = xenevtchn_bind_interdomain(handles_->events(), domid_, *port);
  if (bound < 0)
    return handles_->fail_call(fmt::format("cannot bind the event channel {} of domain {}", *port, domid_));
  event_port_ = bound;
  if (xc_domain_subscribe_for_suspend(handles_->xc(), domid_, *port) != 0)
    return handles_->fail_call(fmt::format("cannot ask Xen to tell when domain {} has suspended", domid_));
  wait_for_event(milliseconds{0});  // a channel is pending from its binding on
  return {};
}

void Suspender::close() {
  if (stopped_ != Stopped::no)
    if (auto resumed = resume(); !resumed) spdlog::error("{}", resumed.error().text());
  if (late_.joinable()) late_.join();
  if (event_port_ >= 0) {
    static_cast<void>(xc_domain_subscribe_for_suspend(handles_->xc(), domid_, 0));
    static_cast<void>(xenevtchn_unbind(handles_->events(), static_cast<evtchn_port_t>(event_port_)));
    event_port_ = -1;
  }
  servers_->close();
}

void Suspender::interrupt() {
  interrupted_.store(true);
  static_cast<void>(::eventfd_write(interrupt_.get(), 1));
}

void Suspender::reset_interrupt() {
  interrupted_.store(false);
  eventfd_t ignored{};
  static_cast<void>(::eventfd_read(interrupt_.get(), &ignored));
}

void Suspender::wait_for_event(milliseconds at_most) {
  pollfd fds[] = {{xenevtchn_fd(handles_->events()), POLLIN, 0}, {interrupt_.get(), POLLIN, 0}};
  if (::poll(fds, 2, static_cast<int>(at_most.count())) <= 0 || (fds[0].revents & POLLIN) == 0) return;
  const auto port = xenevtchn_pending(handles_->events());
  if (port >= 0) static_cast<void>(xenevtchn_unmask(handles_->events(), static_cast<evtchn_port_t>(port)));
}

Status Suspender::stop(milliseconds patience) {
  if (late_.joinable()) late_.join();
  if (interrupted()) return fail(Errc::closed, "interrupted");
  const auto deadline = Clock::now() + patience;
  if (!cooperative_) return pause(deadline);
  if (auto asked = ask(deadline); !asked) return asked;
  auto suspended = await_suspended(deadline);
  if (suspended) {
    stopped_ = Stopped::suspended;
    return {};
  }
  if (const auto state = domain_state(*handles_, domid_);
      state && (!state->shut_down || state->suspended())) {
    if (withdraw()) {
      mark_.fields().requested = 0;
    } else if (await_suspended(Clock::now() + withdrawal_patience)) {
      stopped_ = Stopped::suspended;
      if (auto resumed = resume(); !resumed) return resumed;
    } else {
      watch_late_suspend();
    }
  }
  return suspended;
}

Status Suspender::ask(Clock::time_point deadline) {
  // What somebody else has asked of the guest (to power off, say) is answered first, not overwritten.
  while (!by_event_) {
    const auto pending = handles_->read(control_).value_or("");
    if (pending.empty() || pending == "suspend") break;
    const auto state = domain_state(*handles_, domid_);
    if (!state || state->shut_down || state->dying || interrupted())
      return fail(Errc::closed, interrupted() ? "interrupted" : fmt::format("domain {} has ended", domid_));
    if (Clock::now() > deadline)
      return fail(Errc::timeout,
                  fmt::format("domain {} has been asked to {} and has not answered", domid_, pending));
    wait_for_event(milliseconds{10});
  }
  mark_.fields().requested = 1;
  const bool sent = by_event_
                        ? xenevtchn_notify(handles_->events(), static_cast<evtchn_port_t>(event_port_)) == 0
                        : handles_->write(control_, "suspend");
  if (sent) return {};
  mark_.fields().requested = 0;
  return handles_->fail_call(fmt::format("cannot ask domain {} to suspend itself", domid_));
}

Status Suspender::await_suspended(Clock::time_point deadline) {
  while (true) {
    const auto state = domain_state(*handles_, domid_);
    if (!state || state->dying) return fail(Errc::closed, fmt::format("domain {} is gone", domid_));
    if (state->suspended()) return {};
    if (state->shut_down)
      return fail(Errc::closed, fmt::format("domain {} {}", domid_, reason_text(state->reason)));
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left <= milliseconds{0})
      return fail(Errc::timeout, fmt::format("domain {} has not suspended itself in time", domid_),
                  "is its kernel alive, and does it support suspension under Xen?");
    if (interrupted()) return fail(Errc::closed, "interrupted");
    wait_for_event(std::min(left, look_interval));
  }
}

bool Suspender::withdraw() {
  if (by_event_) return false;
  for (int tries = 0; tries < 10; ++tries) {
    const xs_transaction_t transaction = xs_transaction_start(handles_->store());
    if (transaction == XBT_NULL) return false;
    unsigned length = 0;
    char* value = static_cast<char*>(xs_read(handles_->store(), transaction, control_.c_str(), &length));
    const bool pending = value != nullptr && std::string_view{value, length} == "suspend";
    std::free(value);
    if (pending) static_cast<void>(xs_write(handles_->store(), transaction, control_.c_str(), "", 0));
    if (xs_transaction_end(handles_->store(), transaction, !pending)) return pending;
    if (errno != EAGAIN) return false;
  }
  return false;
}

void Suspender::watch_late_suspend() {
  spdlog::warn("domain {} was asked to suspend itself, and may yet do so: it is resumed then", domid_);
  late_ = std::jthread{[this] {
    for (const auto end = Clock::now() + late_patience; Clock::now() < end;
         std::this_thread::sleep_for(milliseconds{20})) {
      const auto state = domain_state(*handles_, domid_);
      if (!state || (state->shut_down && !state->suspended())) return;
      if (!state->suspended()) continue;
      if (xc_domain_resume(handles_->xc(), domid_, 1) != 0)
        spdlog::error("cannot resume domain {}: `xl unpause` or `xl destroy` it", domid_);
      mark_.fields().requested = 0;
      return;
    }
    mark_.fields().requested = 0;
  }};
}

Status Suspender::pause(Clock::time_point deadline) {
  // Without sight of its requests each stop is a shutdown, which Xen itself puts off while one is in hand.
  if (device_model_ && !servers_->visible()) return shut_down(deadline);
  for (unsigned tries = 1; tries <= pause_tries_max; ++tries) {
    mark_.fields().pausing = 1;
    if (xc_domain_pause(handles_->xc(), domid_) != 0) {
      mark_.fields().pausing = 0;
      if (!domain_state(*handles_, domid_))
        return fail(Errc::closed, fmt::format("domain {} is gone", domid_));
      return handles_->fail_call(fmt::format("cannot pause domain {}", domid_));
    }
    stopped_ = Stopped::paused;
    const auto state = domain_state(*handles_, domid_);
    if (state && !state->shut_down && !servers_->in_hand()) return {};
    if (auto resumed = resume(); !resumed) return resumed;
    if (!state || state->dying) return fail(Errc::closed, fmt::format("domain {} is gone", domid_));
    if (state->shut_down)
      return fail(Errc::closed, fmt::format("domain {} {}", domid_, reason_text(state->reason)));
    if (interrupted()) return fail(Errc::closed, "interrupted");
    ::usleep(std::min(50U * tries, 2000U));
  }
  return shut_down(deadline);
}

Status Suspender::shut_down(Clock::time_point deadline) {
  mark_.fields().shutting = 1;
  if (xc_domain_shutdown(handles_->xc(), domid_, SHUTDOWN_suspend) != 0) {
    mark_.fields().shutting = 0;
    return handles_->fail_call(fmt::format("cannot stop domain {}", domid_));
  }
  stopped_ = Stopped::shut_down;
  auto stood = await_suspended(deadline);
  if (!stood)
    if (auto resumed = resume(); !resumed) return resumed;
  return stood;
}

Status Suspender::resume() {
  const Stopped was = std::exchange(stopped_, Stopped::no);
  int result = 0;
  switch (was) {
    case Stopped::no: return {};
    case Stopped::suspended: result = xc_domain_resume(handles_->xc(), domid_, 1); break;
    case Stopped::paused: result = xc_domain_unpause(handles_->xc(), domid_); break;
    case Stopped::shut_down:
      result = xc_domain_resume(handles_->xc(), domid_, 0);
      static_cast<void>(xs_resume_domain(handles_->store(), domid_));
      break;
  }
  if (result != 0 && domain_state(*handles_, domid_)) {
    stopped_ = was;
    return handles_->fail_call(fmt::format("cannot resume domain {}", domid_));
  }
  switch (was) {
    case Stopped::no: break;
    case Stopped::suspended: mark_.fields().requested = 0; break;
    case Stopped::paused: mark_.fields().pausing = 0; break;
    case Stopped::shut_down: mark_.fields().shutting = 0; break;
  }
  return {};
}

}  // namespace remus::hypervisor::xen
