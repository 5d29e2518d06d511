// Xen's log of the pages a domain has written, as a bitmap over its gfns (PV: pfns).
#pragma once

#include <memory>
#include <span>

#include "hypervisor/xen/handles.hpp"

namespace remus::hypervisor::xen {

class DirtyLog final {
 public:
  DirtyLog(std::shared_ptr<Handles> handles, std::uint32_t domid)
      : handles_{std::move(handles)}, domid_{domid} {}
  ~DirtyLog() { stop(); }
  DirtyLog(const DirtyLog&) = delete;
  DirtyLog& operator=(const DirtyLog&) = delete;

  /// From now on writes to gfns below `gfns` are logged. `tracks_video`: the device model may have Xen follow
  /// the video memory, which must end first. Errors: unsupported (a PV domain without shadow paging in the
  /// hypervisor), exists (somebody else follows the domain's writes), exhausted, io.
  Status start(std::uint64_t gfns, bool tracks_video);
  /// Idempotent.
  void stop();
  [[nodiscard]] bool started() const noexcept { return started_; }

  /// Fetches the log, and empties it. Bit n of word n / 64. Valid until the next call.
  Result<std::span<const unsigned long>> clean();

 private:
  std::shared_ptr<Handles> handles_;
  std::uint32_t domid_;
  std::uint64_t gfns_{};
  xc_hypercall_buffer_t buffer_{};
  int buffer_pages_{};
  bool started_{};
};

}  // namespace remus::hypervisor::xen
