// How long a guest really stood still.
//
// The problem: what we see of a pause begins late and ends early. QEMU tells us that the guest stands (VMSTATE_SEND) only after it
// has waited for the guest's disk requests and flushed every disk, and the guest runs a moment after we have let it go.
// The answer: QEMU's own events carry the moments.
//
//   asked ──▶ STOP ── requests end, disks flushed ── VMSTATE_SEND ── memory, devices ── LOADED ──▶ RESUME
//             ├────────────── drain ─────────────────┼─────────── what we see ───────────┤         │
//             └───────────────────────────────── the guest stands still ───────────────────────────┘
//
// The events tell the time by QEMU's wall clock, which somebody may set, and they may come late: what our own clock does not allow
// is not believed, and without an event our own moment counts.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "hypervisor/qemu/qmp.hpp"

namespace remus::hypervisor::qemu {

/// One thread calls asked() to times(), in that order, pause by pause.
class PauseWatch final {
 public:
  using Clock = std::chrono::steady_clock;
  /// RESUME follows our word within some hundred microseconds; a QEMU that gets no processor may take longer.
  static constexpr std::chrono::milliseconds resume_wait{20};

  explicit PauseWatch(Qmp& qmp);
  PauseWatch(const PauseWatch&) = delete;
  PauseWatch& operator=(const PauseWatch&) = delete;

  void asked();     ///< QEMU is about to be told to stop the guest
  void stopped();   ///< it has told us that the guest stands
  void released();  ///< it has been told to let the guest go on

  struct Times {
    std::uint64_t stop_us{};   ///< asked → stands still
    std::uint64_t drain_us{};  ///< stands still → stopped()
    std::uint64_t pause_us{};  ///< stands still → runs again
  };
  /// Of the pause that ended with released(). Waits for QEMU's word that the guest runs, for resume_wait at most.
  [[nodiscard]] Times times();

 private:
  struct Moments {
    Clock::time_point asked{};
    Clock::time_point stopped{};
    Clock::time_point released{};
  };
  /// Wall clock. An event may be on its way to us when we end, so it does not belong to us alone.
  struct Events {
    std::mutex mutex{};
    std::condition_variable changed{};
    std::optional<std::int64_t> stop_us{};    ///< of the last STOP
    std::optional<std::int64_t> resume_us{};  ///< of a RESUME after it
    void heard(const Event& event);
  };

  Moments ours_{};
  std::shared_ptr<Events> events_{std::make_shared<Events>()};
  std::shared_ptr<void> subscription_;
};

}  // namespace remus::hypervisor::qemu
