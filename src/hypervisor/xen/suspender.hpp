// Stops a guest so that it can be continued elsewhere, and lets it go on.
//
// A guest with PV drivers is asked to suspend itself: its drivers must know that they have to connect anew on
// the backup. Resumed here, its suspend call returns 1, "nothing happened". The request goes through the
// event channel the guest offers (device/suspend/event-channel) or, as Linux offers none, through xenstore
// (control/shutdown). That it stands still we learn by an event channel of our own:
//
//   us                      xenstored / guest                     Xen
//   write "suspend" ──────────▶ guest freezes itself ─ SHUTDOWN_suspend ─▶ stopped
//   ◀──────────────── event on the port we subscribed for suspends ────────┘
//
// Subscribed, Xen tells nobody else. That is quicker than xenstored's @releaseDomain, which needs two more
// trips through xenstored, and it spares xl's own process: that one takes each suspend for the end of the
// domain, and stops watching.
//
// A guest without PV drivers is paused between two instructions. One whose device model has a request of it
// in hand is let go again for a moment: what is in hand is in no record.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "base/fd.hpp"
#include "hypervisor/xen/domain_facts.hpp"
#include "hypervisor/xen/handles.hpp"
#include "hypervisor/xen/ioreq_servers.hpp"
#include "hypervisor/xen/session_mark.hpp"

namespace remus::hypervisor::xen {

class Suspender final {
 public:
  Suspender(std::shared_ptr<Handles> handles, std::shared_ptr<IoreqServers> servers, const DomainFacts& facts,
            SessionMark& mark);
  ~Suspender();
  Suspender(const Suspender&) = delete;
  Suspender& operator=(const Suspender&) = delete;

  /// Makes ready: event channel, sight of the device model's requests. Idempotent.
  Status open();
  /// Leaves nothing behind in Xen or the guest. Waits for a guest that may yet suspend itself. Idempotent.
  void close();

  /// Returns with the guest standing still. Errors leave it running: timeout (the guest did not answer),
  /// closed (it has shut down, crashed or gone, or interrupt() was called).
  Status stop(std::chrono::milliseconds patience);
  /// Lets it go on. Safe to call on a running guest.
  Status resume();

  /// Makes stop() return Errc::closed soon. Thread-safe.
  void interrupt();
  void reset_interrupt();
  [[nodiscard]] bool interrupted() const noexcept { return interrupted_.load(); }
  [[nodiscard]] bool cooperative() const noexcept { return cooperative_; }

 private:
  using Clock = std::chrono::steady_clock;

  Status open_events();
  Status ask(Clock::time_point deadline);
  Status await_suspended(Clock::time_point deadline);
  /// Takes the request back; true if the guest had not taken it up.
  bool withdraw();
  Status pause(Clock::time_point deadline);
  Result<std::uint32_t> port_in_guest();
  void wait_for_event(std::chrono::milliseconds at_most);
  void watch_late_suspend();
  Status shut_down(Clock::time_point deadline);

  std::shared_ptr<Handles> handles_;
  std::shared_ptr<IoreqServers> servers_;
  std::uint32_t domid_;
  bool cooperative_;
  bool device_model_;
  SessionMark& mark_;
  std::string control_;  ///< xenstore node of the request
  Fd interrupt_{};       ///< eventfd
  std::atomic<bool> interrupted_{false};
  int event_port_{
      -1};  ///< ours, bound to a port of the guest's that Xen signals when the guest has suspended
  bool by_event_{false};  ///< the guest takes the request by that port, too
  enum class Stopped { no, suspended, paused, shut_down } stopped_{Stopped::no};
  std::jthread late_{};  ///< waits for a guest that was asked, and may yet suspend itself
};

}  // namespace remus::hypervisor::xen
