#include "hypervisor/xen/dirty_log.hpp"

#include <fmt/format.h>

#include <cerrno>

namespace remus::hypervisor::xen {

namespace {
constexpr std::uint64_t bits_a_page = XC_PAGE_SIZE * 8;
}

Status DirtyLog::start(std::uint64_t gfns, bool tracks_video) {
  stop();
  gfns_ = gfns;
  buffer_pages_ = static_cast<int>((gfns + bits_a_page - 1) / bits_a_page);
  buffer_ = {};
  if (xc__hypercall_buffer_alloc_pages(handles_->xc(), &buffer_, buffer_pages_) == nullptr) {
    buffer_pages_ = 0;
    return fail(Errc::exhausted, fmt::format("no memory for the log of {} guest pages", gfns));
  }
  const auto enable = [&] {
    return xc_shadow_control(handles_->xc(), domid_, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, nullptr, 0);
  };
  int done = enable();
  if (done < 0 && errno == EINVAL && tracks_video) {
    // The log serves the device model's screen already: that one is ended, and begins again by itself.
    if (xc_shadow_control(handles_->xc(), domid_, XEN_DOMCTL_SHADOW_OP_OFF, nullptr, 0) >= 0) done = enable();
  }
  if (done >= 0) {
    started_ = true;
    return {};
  }
  const int code = errno;
  const std::string which = fmt::format("domain {}", domid_);
  stop();
  if (code == EOPNOTSUPP || code == ENOSYS)
    return fail(Errc::unsupported,
                which +
                    " is paravirtual (PV), and this Xen was built without shadow paging: its "
                    "writes to memory cannot be followed",
                "use a Xen built with CONFIG_SHADOW_PAGING=y, or make the domain a PVH one (type = \"pvh\")");
  if (code == EINVAL)
    return fail(Errc::exists,
                which +
                    " is followed by something else: it is being migrated, saved or protected, or "
                    "has a passed-through device",
                "wait until that has ended");
  if (code == ENOMEM)
    return fail(Errc::exhausted, "Xen has no memory left to follow the writes of " + which,
                "give Xen more free memory (balloon dom0 down)");
  errno = code;
  return handles_->fail_call("cannot follow the writes of " + which);
}

void DirtyLog::stop() {
  if (started_)
    static_cast<void>(xc_shadow_control(handles_->xc(), domid_, XEN_DOMCTL_SHADOW_OP_OFF, nullptr, 0));
  started_ = false;
  if (buffer_pages_ > 0) xc__hypercall_buffer_free_pages(handles_->xc(), &buffer_, buffer_pages_);
  buffer_pages_ = 0;
  buffer_ = {};
}

Result<std::span<const unsigned long>> DirtyLog::clean() {
  xc_shadow_op_stats_t counts{};
  const auto got =
      xc_logdirty_control(handles_->xc(), domid_, XEN_DOMCTL_SHADOW_OP_CLEAN, &buffer_, gfns_, 0, &counts);
  if (got < 0 || static_cast<std::uint64_t>(got) != gfns_)
    return handles_->fail_call(fmt::format("cannot fetch the log of domain {}'s writes", domid_));
  return std::span{static_cast<const unsigned long*>(buffer_.hbuf), (gfns_ + 63) / 64};
}

}  // namespace remus::hypervisor::xen
