// Frees a domain from a guard that died: see domain.hpp.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>

#include <chrono>
#include <thread>

#include "hypervisor/xen/device_model.hpp"
#include "hypervisor/xen/domain.hpp"
#include "hypervisor/xen/domain_disks.hpp"
#include "hypervisor/xen/inspect.hpp"
#include "hypervisor/xen/session_mark.hpp"
#include "hypervisor/xen/xen_headers.hpp"
// After Xen's other headers: it redefines names of theirs.
#include <xen/hvm/params.h>

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

/// A page of an HVM or PVH domain's memory. While somebody has it, Xen keeps the dead domain's number, and libxl clears
/// up after it; of one that has vanished it leaves everything.
class Hold final {
 public:
  Hold(const Handles& handles, std::uint32_t domid) : memory_{handles.memory()} {
    std::uint64_t frame = 0;
    if (xc_hvm_param_get(handles.xc(), domid, HVM_PARAM_STORE_PFN, &frame) != 0 || frame == 0) return;
    const xen_pfn_t gfn = frame;
    int error = 0;
    page_ = xenforeignmemory_map(memory_, domid, PROT_READ, 1, &gfn, &error);
    if (page_ != nullptr && error != 0) release();
  }
  ~Hold() { release(); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  [[nodiscard]] explicit operator bool() const noexcept { return page_ != nullptr; }

 private:
  void release() noexcept {
    if (page_ != nullptr) xenforeignmemory_unmap(memory_, page_, 1);
    page_ = nullptr;
  }
  xenforeignmemory_handle* memory_;
  void* page_{};
};

}  // namespace

Status rescue_xen(std::string_view name_or_id) {
  auto opened = Handles::open();
  if (!opened) return std::unexpected(opened.error());
  Handles& handles = **opened;
  auto domid = find_domain(handles, name_or_id);
  if (!domid) return std::unexpected(domid.error());
  const std::string uuid = uuid_of(handles, *domid);
  SessionMark mark;
  if (!mark.open(*domid, uuid))  // nobody has followed it, or whoever did left in order
    return rescue_domain_disks(*opened, {*domid, uuid});
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
  note(rescue_domain_disks(*opened, {*domid, uuid}));
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
  // It is dead at once; libxl's clearing up may take a minute, above all where a device model has died.
  const Hold hold{**handles, *domid};
  if (hold && xc_domain_destroy((*handles)->xc(), *domid) != 0)
    spdlog::warn("{}", (*handles)->fail_call(fmt::format("cannot kill domain {}", *domid)).error().text());
  return destroy_domain(**handles, *domid);
}

}  // namespace remus::hypervisor::xen
