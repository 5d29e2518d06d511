// libxl's context and what it owns, released in time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hypervisor/xen/restorer/libxl.hpp"

namespace remus::hypervisor::xen::restorer {

/// One for the whole program; logs to stderr, which our parent keeps as the standby's log.
class Toolstack final {
 public:
  Toolstack();
  Toolstack(const Toolstack&) = delete;
  Toolstack& operator=(const Toolstack&) = delete;
  ~Toolstack();

  /// nullptr if libxl cannot be used here (no Xen, not root); the log says why.
  [[nodiscard]] libxl_ctx* get() const noexcept { return context_; }
  [[nodiscard]] std::optional<std::uint32_t> domid_of(const std::string& name) const;

 private:
  xentoollog_logger* logger_{};
  libxl_ctx* context_{};
};

/// A domain's configuration, as libxl keeps it.
class DomainConfig final {
 public:
  DomainConfig() { libxl_domain_config_init(&value_); }
  DomainConfig(const DomainConfig&) = delete;
  DomainConfig& operator=(const DomainConfig&) = delete;
  ~DomainConfig() { libxl_domain_config_dispose(&value_); }

  /// False if the file cannot be read or is not libxl's JSON.
  bool load(libxl_ctx* context, const std::string& file);
  /// What libxl knows of a domain that exists; the old value stays if it cannot be had.
  bool reload(libxl_ctx* context, std::uint32_t domid);
  [[nodiscard]] libxl_domain_config* get() noexcept { return &value_; }
  [[nodiscard]] libxl_domain_config& operator*() noexcept { return value_; }
  [[nodiscard]] libxl_domain_config* operator->() noexcept { return &value_; }
  void set_name(const std::string& name);

 private:
  libxl_domain_config value_{};
};

/// A line in the log.
void log_line(const std::string& text);

}  // namespace remus::hypervisor::xen::restorer
