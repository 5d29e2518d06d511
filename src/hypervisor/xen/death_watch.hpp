// Whether a domain still runs, known without asking: xenstored tells when any domain ends, and the toolstack
// destroys one that has powered off a moment later, with its reason. And whether its device model does.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "base/fd.hpp"
#include "hypervisor/xen/handles.hpp"
#include "hypervisor/xen/model_watch.hpp"

namespace remus::hypervisor::xen {

class DeathWatch final {
 public:
  DeathWatch(std::shared_ptr<Handles> handles, std::uint32_t domid)
      : handles_{std::move(handles)}, domid_{domid} {}
  ~DeathWatch();
  DeathWatch(const DeathWatch&) = delete;
  DeathWatch& operator=(const DeathWatch&) = delete;

  /// `model`: it has a device model, whose end is watched, too. Errors: unreachable; refused (that has died).
  Status start(bool model);
  [[nodiscard]] bool alive() const noexcept { return end_.load() == End::none; }
  /// It powered off or rebooted, rather than crashed or vanished.
  [[nodiscard]] bool in_order() const noexcept { return end_.load() == End::in_order; }
  /// Its device model has died. `patience`: see ModelWatch.
  [[nodiscard]] bool model_dead(std::chrono::milliseconds patience = {}) const noexcept {
    return model_.dead(patience);
  }
  /// Looks now.
  void look();
  /// `callback` runs, on a thread of the watch, after it has looked because some domain ended, or the device
  /// model. Empty: nobody is told.
  void on_look(std::function<void()> callback);

 private:
  enum class End { none, in_order, otherwise };
  void run();

  std::shared_ptr<Handles> handles_;
  std::uint32_t domid_;
  xs_handle* store_{};  ///< of its own: watches of one connection are read by one thread
  ModelWatch model_{};
  Fd stop_{};
  std::atomic<End> end_{End::none};
  std::mutex mutex_{};
  std::function<void()> on_look_{};  ///< under mutex_
  std::thread thread_{};
};

}  // namespace remus::hypervisor::xen
