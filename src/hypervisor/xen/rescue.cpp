// Frees a domain from a guard that died: see domain.hpp.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <thread>

#include "hypervisor/xen/device_model.hpp"
#include "hypervisor/xen/domain.hpp"
#include "hypervisor/xen/inspect.hpp"
#include "hypervisor/xen/session_mark.hpp"

namespace remus::hypervisor::xen {

namespace {

using std::chrono::milliseconds;
constexpr milliseconds request_patience{5000};

std::string uuid_of(const Handles& handles, std::uint32_t domid) {
  // "/vm/<uuid>"
  const std::string path = handles.read(Handles::domain_path(domid) + "/vm").value_or("");
  return path.starts_with("/vm/") ? path.substr(4) : path;
}

/// A guest that was asked to suspend may do so after its asker is dead; nobody would resume it then.
void withdraw_request(const Handles& handles, std::uint32_t domid) {
  const std::string control = Handles::domain_path(domid) + "/control/shutdown";
  const bool pending = handles.read(control).value_or("") == "suspend";
  if (pending && handles.write(control, "")) return;
  for (const auto end = std::chrono::steady_clock::now() + request_patience;
       std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(milliseconds{10})) {
    const auto state = domain_state(handles, domid);
    if (!state || state->shut_down) return;
  }
}

}  // namespace

Status rescue_xen(std::string_view name_or_id) {
  auto opened = Handles::open();
  if (!opened) return std::unexpected(opened.error());
  Handles& handles = **opened;
  auto domid = find_domain(handles, name_or_id);
  if (!domid) return std::unexpected(domid.error());
  SessionMark mark;
  if (!mark.open(*domid, uuid_of(handles, *domid)))
    return {};  // nobody has followed it, or whoever did left in order
  const MarkFields left = const_cast<const MarkFields&>(mark.fields());
  Status result{};
  const auto note = [&](Status status) {
    if (!status && result) result = status;
  };
  // First let the guest run, then tidy up; each is tried whatever became of the others.
  note(rescue_device_model(*domid, left.model_stopped != 0, left.model_logging != 0));
  auto state = domain_state(handles, *domid);
  if (left.requested != 0 && state && !state->shut_down) {
    withdraw_request(handles, *domid);
    state = domain_state(handles, *domid);
  }
  if (state && state->suspended()) {
    if (xc_domain_resume(handles.xc(), *domid, left.shutting != 0 ? 0 : 1) != 0)
      note(handles.fail_call(fmt::format("cannot resume domain {}", *domid)));
    static_cast<void>(xs_resume_domain(handles.store(), *domid));
  }
  if (state && state->paused && left.pausing != 0 && xc_domain_unpause(handles.xc(), *domid) != 0)
    note(handles.fail_call(fmt::format("cannot unpause domain {}", *domid)));
  static_cast<void>(xc_domain_subscribe_for_suspend(handles.xc(), *domid, 0));
  if (!being_saved(*domid))
    static_cast<void>(xc_shadow_control(handles.xc(), *domid, XEN_DOMCTL_SHADOW_OP_OFF, nullptr, 0));
  if (result) mark.remove();
  return result;
}

Status terminate_xen(std::string_view name_or_id) {
  auto handles = Handles::open();
  if (!handles) return std::unexpected(handles.error());
  auto domid = find_domain(**handles, name_or_id);
  if (!domid) {
    if (domid.error().kind == Errc::not_found) return {};
    return std::unexpected(domid.error());
  }
  if (*domid == 0) return fail(Errc::refused, "Domain-0 is not destroyed");
  return destroy_domain(**handles, *domid);
}

}  // namespace remus::hypervisor::xen
