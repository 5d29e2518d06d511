#include "hypervisor/xen/death_watch.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <utility>

namespace remus::hypervisor::xen {

Status DeathWatch::start(bool model) {
  if (model) {
    if (auto watched = model_.open(*handles_, domid_); !watched)
      return fail(Errc::refused, watched.error().what,
                  "it cannot go on: `xl destroy` it, and start it again");
  }
  stop_.reset(::eventfd(0, EFD_CLOEXEC));
  store_ = xs_open(0);
  if (!stop_ || store_ == nullptr || !xs_watch(store_, "@releaseDomain", "end"))
    return fail(Errc::unreachable, "cannot ask xenstored to tell when domains end", "is xenstored running?");
  thread_ = std::thread{[this] { run(); }};
  return {};
}

DeathWatch::~DeathWatch() {
  if (thread_.joinable()) {
    static_cast<void>(::eventfd_write(stop_.get(), 1));
    thread_.join();
  }
  if (store_ != nullptr) xs_close(store_);
}

void DeathWatch::look() {
  const auto state = domain_state(*handles_, domid_);
  auto seen = End::none;
  // Its shutdown first: one that is being destroyed because it has shut down still tells that it did.
  if (state && state->shut_down && !state->suspended())
    seen = state->reason == SHUTDOWN_poweroff || state->reason == SHUTDOWN_reboot ? End::in_order
                                                                                  : End::otherwise;
  else if (!state || state->dying)
    seen = End::otherwise;
  if (seen == End::none) return;
  auto none = End::none;  // what was seen first holds: a domain in order is destroyed afterwards
  end_.compare_exchange_strong(none, seen);
}

void DeathWatch::on_look(std::function<void()> callback) {
  const std::lock_guard lock{mutex_};
  on_look_ = std::move(callback);
}

void DeathWatch::run() {
  pollfd fds[] = {{xs_fileno(store_), POLLIN, 0}, {model_.fd(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  auto& [store, model, stop] = fds;
  while (::poll(fds, std::size(fds), -1) >= 0 || errno == EINTR) {
    if (stop.revents != 0) return;
    if ((store.revents & POLLIN) == 0 && model.revents == 0) {
      if (store.revents != 0) store.fd = -1;  // xenstored is gone; look() still tells
      continue;
    }
    if (model.revents != 0) model.fd = -1;  // once
    if ((store.revents & POLLIN) != 0)
      while (char** event = xs_check_watch(store_)) std::free(static_cast<void*>(event));
    look();
    const std::lock_guard lock{mutex_};
    if (on_look_) on_look_();
  }
}

}  // namespace remus::hypervisor::xen
