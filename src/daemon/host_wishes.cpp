// Domains whose configuration asks for protection, at boot as at any later start (auto_protect.hpp).
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/host.hpp"
#include "hypervisor/xen/presence.hpp"
#include "hypervisor/xen/protection_wish.hpp"

namespace remus::daemon {

namespace xen = hypervisor::xen;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {
constexpr milliseconds look_interval{3'000};
}

Task<void> Host::heed_wishes() {
  const auto probe = xen::DomainProbe::open();
  if (!probe) {
    spdlog::warn("wishes of domains are not heeded: {}", probe.error().text());
    co_return;
  }
  wishes_.load();
  for (;; co_await sleep_for(look_interval)) {
    const auto domains = (*probe)->guests();
    if (!domains) continue;
    std::vector<DomainLifeKey> living;
    for (const auto& domain : *domains) living.push_back({domain.domid, domain.uuid});
    wishes_.keep_only(living);
    for (const auto& domain : living)
      if (wishes_.due(domain, steady_clock::now())) co_await heed_wish(domain);
  }
}

Task<void> Host::heed_wish(DomainLifeKey domain) {
  const auto name = xen::domain_name(domain.domid);
  if (!name) {  // being made, or just gone
    wishes_.failed(domain, steady_clock::now());
    co_return;
  }
  const auto done = [&] {
    if (const Status kept = wishes_.done(domain); !kept) spdlog::warn("{}", kept.error().text());
  };
  const auto later = [&](const Error& error) {
    events_.add(*name, "error", fmt::format("its configuration asks for protection: {}", error.text()));
    wishes_.failed(domain, steady_clock::now());
  };
  // "web1--incoming": arriving from elsewhere, it has a name of its own once it runs.
  if (name->ends_with("--incoming")) {
    wishes_.failed(domain, steady_clock::now());
    co_return;
  }
  const auto wish = xen::wish_for(*name);
  if (!wish) {
    later(wish.error());
    co_return;
  }
  const std::optional<xen::ProtectionWish>& maybe = *wish;
  if (!maybe) {
    done();
    co_return;
  }
  auto wanted = parse_auto_protect(maybe->words);
  if (!wanted) {
    later(wanted.error().in(maybe->file.string()));
    co_return;
  }
  if (wanted->to == config_.host) {  // both hosts may have the same file: it is meant for the other one
    done();
    co_return;
  }
  if (const auto known = guests_.find(*name); known != guests_.end()) {
    const auto& r = known->second->registration;
    if (r.role == Role::primary && r.guest_domid == domain.domid && r.guest_uuid == domain.uuid) {
      done();
      co_return;
    }
    if (r.role != Role::owner) {  // of an earlier life, and not settled yet
      wishes_.failed(domain, steady_clock::now());
      co_return;
    }
  }
  events_.add(*name, "protect",
              fmt::format("{} asks for its protection to {}", maybe->file.string(), wanted->to));
  ProtectRequest request{
      .guest = *name, .to = wanted->to, .qmp = {}, .options = wanted->options, .dry_run = false};
  const auto protected_now = co_await protect(std::move(request));
  if (protected_now)
    done();
  else
    wishes_.failed(domain, steady_clock::now());  // protect() has told why
}

}  // namespace remus::daemon
