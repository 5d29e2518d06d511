// A running domain of Xen as a source of checkpoints.
//
// All of the domain's memory is mapped once. Between checkpoints Xen logs which pages are written (log-dirty
// mode); at a checkpoint the domain is stopped, the log is fetched and cleared, and only what it names is
// copied:
//
//   attach: look, refuse ─▶ synchronize: map all, log on, copy while it runs ─▶ capture ... ─▶ detach: all off
//
//   capture: stop ─ device model stops ─ paused() ─ log CLEAN ─ memcpy of dirty pages ─ vCPU and device records ─ run
//
// How a domain is stopped depends on what it is. PV drivers (all PV guests, most others) must connect anew on
// the backup, so such a guest is asked to suspend itself, by its suspend event channel if it offers one, else
// by xenstore; it learns on resumption that nothing happened. A guest without PV drivers is simply paused.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hypervisor/domain.hpp"
#include "hypervisor/guest_disks.hpp"

namespace remus::hypervisor::xen {

struct XenAttachOptions {
  std::chrono::milliseconds suspend_timeout{
      10'000};  ///< a cooperative guest must have suspended itself within this
  /// Virtual devices ("hda") of writable disks whose writes are to be replicated.
  std::vector<std::string> replicated_disks{};
  /// Those the administrator vouches for: shared, replicated otherwise, or scratch. A guest with other writable disks is
  /// refused.
  std::vector<std::string> vouched_disks{};
  /// The device model stands still until the guest goes on, not only until its state is taken: for comparisons.
  bool hold_model{false};
  /// Threads that help to copy in a pause; nothing: by this host's processors.
  std::optional<unsigned> copy_helpers{};
};

struct Vif {
  int devid{};
  std::string mac{};         ///< "00:16:3e:77:00:20"
  std::string bridge{};      ///< may be empty (routed set-ups)
  std::string interface {};  ///< in dom0, whose ingress is the guest's output: "vif3.0", or "vif3.0-emu"
                             ///< where the guest has no PV network driver; see `emulated`
  bool emulated{};           ///< the guest talks to a network card of the device model
};

class XenDomain : public Domain {
 public:
  [[nodiscard]] virtual std::uint32_t domid() const = 0;
  [[nodiscard]] virtual const std::string& name() const = 0;
  [[nodiscard]] virtual const std::vector<Vif>& vifs() const = 0;
  /// Whether the guest shut itself down (powered off) rather than vanished or crashed. Means something once
  /// alive() is false or a capture returned Errc::closed.
  [[nodiscard]] virtual bool shut_down_in_order() const = 0;
  /// Its device model has died: it can neither go on here nor be checkpointed any more. Quick, on any thread.
  [[nodiscard]] virtual bool device_model_dead() const = 0;
  /// XenAttachOptions::replicated_disks; null if there are none. `directory`: the guard's own, for a socket. Once.
  /// Errors: io.
  [[nodiscard]] virtual Result<std::unique_ptr<GuestDisks>> replicated_disks(
      const std::filesystem::path& directory) = 0;
  /// `callback` runs, on any thread, when some domain of this host has ended or shut down: perhaps this one; or
  /// its device model.
  virtual void on_ends(std::function<void()> callback) = 0;
};

/// Looks at the running domain (a name, or an id) and, if it can be protected, returns it. Changes nothing in
/// it. Errors: not_found; refused, with every reason in one sentence; unsupported (a PV domain on a
/// hypervisor without shadow paging); denied (not on Xen, or not root); exists (something else follows its
/// dirty pages: it is being migrated, saved or protected already).
Result<std::unique_ptr<XenDomain>> attach_xen(std::string_view name_or_id, XenAttachOptions options);

/// For a fresh guard or a keeper: frees a domain from a dead predecessor. Ends log-dirty mode, withdraws a
/// pending suspend request, resumes the domain if it was left suspended or paused by us. A domain that its
/// user paused stays paused. Safe to call on a healthy domain, and on one that no longer exists (not_found).
Status rescue_xen(std::string_view name_or_id);

/// The domain has been superseded by its copy on the backup, or is to go on there: destroys it, as `xl destroy`.
/// HVM and PVH domains are dead at once, before this returns: see DomainLife::gone. Idempotent.
Status terminate_xen(std::string_view name_or_id);

}  // namespace remus::hypervisor::xen
