// Our ways to Xen: hypercalls, foreign memory, event channels, device models' requests, xenstore. Opened once, held for as long as a
// guest is.
//
// Xen's libraries tell why something failed in log messages only; they are caught here, so that an error can
// repeat them.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "hypervisor/xen/xen_headers.hpp"

namespace remus::hypervisor::xen {

/// A log of Xen's libraries that writes to ours, and keeps the last error it was told.
class ToolLog final : public xentoollog_logger {
 public:
  ToolLog();
  /// The last error and the context it came from, once; empty if there was none since the last call.
  [[nodiscard]] std::string take_last_error();

 private:
  friend struct ToolLogCallbacks;
  std::mutex mutex_{};
  std::string last_error_{};
};

class Handles final {
 public:
  /// Errors: unsupported (no Xen here), denied (not root), unreachable (no xenstore).
  static Result<std::shared_ptr<Handles>> open();
  ~Handles();
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  [[nodiscard]] xc_interface* xc() const noexcept { return xc_; }
  [[nodiscard]] xenforeignmemory_handle* memory() const noexcept { return memory_; }
  [[nodiscard]] xenevtchn_handle* events() const noexcept { return events_; }
  [[nodiscard]] xendevicemodel_handle* devices() const noexcept { return devices_; }
  [[nodiscard]] xs_handle* store() const noexcept { return store_; }
  [[nodiscard]] ToolLog& log() noexcept { return log_; }

  /// Errc::io with errno's text and what Xen's libraries logged. Call at once after the failure.
  [[nodiscard]] std::unexpected<Error> fail_call(std::string_view what, std::string fix = {});

  /// A node of xenstore; nothing if it is not there.
  [[nodiscard]] std::optional<std::string> read(const std::string& path) const;
  [[nodiscard]] bool write(const std::string& path, std::string_view value) const;
  /// "/local/domain/7"
  [[nodiscard]] static std::string domain_path(std::uint32_t domid);

 private:
  Handles() = default;

  ToolLog log_{};
  xc_interface* xc_{};
  xenforeignmemory_handle* memory_{};
  xenevtchn_handle* events_{};
  xendevicemodel_handle* devices_{};
  xs_handle* store_{};
};

/// What Xen says about a domain right now.
struct DomainState {
  bool hvm{};  ///< HVM or PVH
  bool dying{};
  bool paused{};  ///< by somebody in dom0
  bool shut_down{};
  unsigned reason{};  ///< SHUTDOWN_*, if shut_down
  std::uint64_t pages{};
  std::uint64_t shared_info_frame{};
  std::uint32_t vcpu_id_max{};
  std::uint32_t vcpus_online{};

  [[nodiscard]] bool suspended() const noexcept { return shut_down && reason == SHUTDOWN_suspend; }
};

/// Nothing if there is no such domain. One hypercall.
[[nodiscard]] std::optional<DomainState> domain_state(const Handles& handles, std::uint32_t domid);

}  // namespace remus::hypervisor::xen
