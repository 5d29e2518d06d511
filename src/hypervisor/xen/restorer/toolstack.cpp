#include "hypervisor/xen/restorer/toolstack.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace remus::hypervisor::xen::restorer {

Toolstack::Toolstack() {
  // REMUS_XL_LOG=debug shows each of libxl's steps with its time: what an activation spends its time on.
  const char* wanted = std::getenv("REMUS_XL_LOG");
  const bool debug = wanted != nullptr && std::strcmp(wanted, "debug") == 0;
  auto* stdio = xtl_createlogger_stdiostream(stderr, debug ? XTL_DEBUG : XTL_DETAIL,
                                             XTL_STDIOSTREAM_HIDE_PROGRESS | XTL_STDIOSTREAM_SHOW_DATE);
  logger_ = reinterpret_cast<xentoollog_logger*>(stdio);
  if (libxl_ctx_alloc(&context_, LIBXL_VERSION, 0, logger_) != 0) context_ = nullptr;
}

Toolstack::~Toolstack() {
  libxl_ctx_free(context_);
  xtl_logger_destroy(logger_);
}

std::optional<std::uint32_t> Toolstack::domid_of(const std::string& name) const {
  std::uint32_t domid = 0;
  if (libxl_name_to_domid(context_, name.c_str(), &domid) != 0) return std::nullopt;
  return domid;
}

bool DomainConfig::load(libxl_ctx* context, const std::string& file) {
  std::ifstream in{file};
  std::stringstream text;
  text << in.rdbuf();
  return in && libxl_domain_config_from_json(context, &value_, text.str().c_str()) == 0;
}

bool DomainConfig::reload(libxl_ctx* context, std::uint32_t domid) {
  libxl_domain_config fresh;
  libxl_domain_config_init(&fresh);
  if (libxl_retrieve_domain_configuration(context, domid, &fresh, nullptr) != 0) {
    libxl_domain_config_dispose(&fresh);
    return false;
  }
  libxl_domain_config_dispose(&value_);
  value_ = fresh;  // with all it owns
  return true;
}

void DomainConfig::set_name(const std::string& name) {
  std::free(value_.c_info.name);
  value_.c_info.name = ::strdup(name.c_str());
}

void log_line(const std::string& text) {
  fmt::print(stderr, "remus: {}\n", text);
}

}  // namespace remus::hypervisor::xen::restorer
