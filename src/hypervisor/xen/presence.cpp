#include "hypervisor/xen/presence.hpp"

#include <fmt/format.h>

#ifdef REMUS_XEN

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>

#include "hypervisor/xen/xen_headers.hpp"

namespace remus::hypervisor::xen {
namespace {

std::string text_of(const xen_domain_handle_t& uuid) {
  // By hand, for it is asked for often.
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  out.reserve(36);
  for (std::size_t i = 0; i < sizeof uuid; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += digits[uuid[i] >> 4U];
    out += digits[uuid[i] & 0xfU];
  }
  return out;
}

DomainLife life_of(const xc_domaininfo_t& info) {
  const std::uint32_t reason = (info.flags >> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask;
  if ((info.flags & XEN_DOMINF_shutdown) != 0 && reason != SHUTDOWN_suspend) return DomainLife::shut_down;
  if ((info.flags & XEN_DOMINF_dying) != 0) return DomainLife::gone;
  return DomainLife::lives;
}

}  // namespace

struct DomainProbe::Impl {
  xc_interface* interface {};
};

bool on_xen_host() {
  std::ifstream in{"/proc/xen/capabilities"};
  const std::string text{std::istreambuf_iterator<char>{in}, {}};
  return text.find("control_d") != std::string::npos;
}

Result<std::shared_ptr<DomainProbe>> DomainProbe::open() {
  if (!on_xen_host())
    return fail(Errc::unsupported, "this host does not run Xen, or this is not its control domain");
  xc_interface* const interface = xc_interface_open(nullptr, nullptr, 0);
  if (interface == nullptr)
    return fail(Errc::denied,
                fmt::format("the hypervisor cannot be asked: {}", fail_errno(errno, "xc").error().what),
                "run as root in the control domain");
  return std::shared_ptr<DomainProbe>{new DomainProbe{std::make_unique<Impl>(Impl{interface})}};
}

DomainProbe::DomainProbe(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
DomainProbe::~DomainProbe() {
  xc_interface_close(impl_->interface);
}

Result<DomainSight> DomainProbe::look(std::uint32_t domid) const {
  xc_domaininfo_t info{};
  const int found = xc_domain_getinfolist(impl_->interface, domid, 1, &info);
  if (found < 0) return fail_errno(errno, fmt::format("cannot look for domain {}", domid));
  if (found == 0 || info.domain != domid) return DomainSight{};
  return DomainSight{life_of(info), text_of(info.handle)};
}

Result<std::vector<DomainProbe::Guest>> DomainProbe::guests() const {
  constexpr unsigned asked_at_once = 64;
  std::vector<xc_domaininfo_t> infos(asked_at_once);
  std::vector<Guest> out;
  for (std::uint32_t next = 1;;) {
    const int found = xc_domain_getinfolist(impl_->interface, next, asked_at_once, infos.data());
    if (found < 0) return fail_errno(errno, "the hypervisor does not list its domains");
    if (found == 0) return out;
    for (int i = 0; i < found; ++i) {
      const auto& info = infos[static_cast<std::size_t>(i)];
      next = info.domain + 1U;
      if (life_of(info) == DomainLife::lives) out.push_back({info.domain, text_of(info.handle)});
    }
  }
}

Result<XenFacts> xen_facts() {
  if (!on_xen_host()) return fail(Errc::unsupported, "this host does not run Xen");
  xc_interface* const interface = xc_interface_open(nullptr, nullptr, 0);
  if (interface == nullptr) return fail_errno(errno, "the hypervisor cannot be asked", "run as root");
  XenFacts facts;
  const int version = xc_version(interface, XENVER_version, nullptr);
  facts.version = fmt::format("{}.{}", version >> 16, version & 0xffff);
  xc_physinfo_t info{};
  const bool asked = version >= 0 && xc_physinfo(interface, &info) == 0;
  const int code = errno;
  xc_interface_close(interface);
  if (!asked) return fail_errno(code, "the hypervisor does not describe itself");
  facts.shadow = (info.capabilities & XEN_SYSCTL_PHYSCAP_shadow) != 0;
  facts.hvm = (info.capabilities & XEN_SYSCTL_PHYSCAP_hvm) != 0;
  facts.free_bytes = info.free_pages * XC_PAGE_SIZE;
  return facts;
}

Result<std::string> domain_name(std::uint32_t domid) {
  xs_handle* const store = xs_open(XS_OPEN_READONLY);
  if (store == nullptr)
    return fail_errno(errno, "xenstored does not answer", "see: systemctl status xenstored");
  const std::unique_ptr<xs_handle, decltype(&xs_close)> closing{store, &xs_close};
  unsigned int length = 0;
  const std::string path = fmt::format("/local/domain/{}/name", domid);
  const std::unique_ptr<void, decltype(&std::free)> name{xs_read(store, XBT_NULL, path.c_str(), &length),
                                                         &std::free};
  if (!name)
    return fail(Errc::not_found, fmt::format("there is no domain {} on this host", domid), "see: xl list");
  return std::string{static_cast<const char*>(name.get()), length};
}

}  // namespace remus::hypervisor::xen

#else

namespace remus::hypervisor::xen {
namespace {

std::unexpected<Error> without_xen() {
  return fail(Errc::unsupported, "this build of Remus does not know Xen");
}

}  // namespace

struct DomainProbe::Impl {};
DomainProbe::DomainProbe(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
DomainProbe::~DomainProbe() = default;

bool on_xen_host() {
  return false;
}
Result<std::shared_ptr<DomainProbe>> DomainProbe::open() {
  return without_xen();
}
Result<DomainSight> DomainProbe::look(std::uint32_t /*domid*/) const {
  return without_xen();
}
Result<std::vector<DomainProbe::Guest>> DomainProbe::guests() const {
  return without_xen();
}
Result<XenFacts> xen_facts() {
  return without_xen();
}
Result<std::string> domain_name(std::uint32_t /*domid*/) {
  return without_xen();
}

}  // namespace remus::hypervisor::xen

#endif
