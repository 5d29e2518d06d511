// Whether a domain still runs, known without asking: xenstored tells when any domain ends, and the toolstack
// destroys one that has powered off a moment later, with its reason.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "base/fd.hpp"
#include "hypervisor/xen/handles.hpp"

namespace remus::hypervisor::xen {

class DeathWatch final {
 public:
  DeathWatch(std::shared_ptr<Handles> handles, std::uint32_t domid)
      : handles_{std::move(handles)}, domid_{domid} {}
  ~DeathWatch();
  DeathWatch(const DeathWatch&) = delete;
  DeathWatch& operator=(const DeathWatch&) = delete;

  Status start();
  [[nodiscard]] bool alive() const noexcept { return end_.load() == End::none; }
  /// It powered off or rebooted, rather than crashed or vanished.
  [[nodiscard]] bool in_order() const noexcept { return end_.load() == End::in_order; }
  /// Looks now.
  void look();
  /// `callback` runs, on a thread of the watch, after it has looked because some domain ended. Empty: nobody
  /// is told.
  void on_look(std::function<void()> callback);

 private:
  enum class End { none, in_order, otherwise };
  void run();

  std::shared_ptr<Handles> handles_;
  std::uint32_t domid_;
  xs_handle* store_{};  ///< of its own: watches of one connection are read by one thread
  Fd stop_{};
  std::atomic<End> end_{End::none};
  std::mutex mutex_{};
  std::function<void()> on_look_{};  ///< under mutex_
  std::thread thread_{};
};

}  // namespace remus::hypervisor::xen
