// Memory that Xen may read and write during a hypercall.
#pragma once

#include <cstddef>

#include "hypervisor/xen/xen_headers.hpp"

namespace remus::hypervisor::xen {

class CallBuffer final {
 public:
  CallBuffer(xc_interface* xc, std::size_t bytes) : xc_{xc} {
    data_ = static_cast<std::byte*>(xc__hypercall_buffer_alloc(xc_, &buffer_, bytes));
  }
  ~CallBuffer() {
    if (data_ != nullptr) xc__hypercall_buffer_free(xc_, &buffer_);
  }
  CallBuffer(const CallBuffer&) = delete;
  CallBuffer& operator=(const CallBuffer&) = delete;
  /// nullptr if there is no memory for it.
  [[nodiscard]] std::byte* data() const noexcept { return data_; }

 private:
  xc_interface* xc_;
  xc_hypercall_buffer_t buffer_{};
  std::byte* data_{};
};

}  // namespace remus::hypervisor::xen
