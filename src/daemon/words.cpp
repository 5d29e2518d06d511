#include "daemon/words.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace remus::daemon {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds stale_after{2000};

std::string because(const GuestFacts& f) {
  if (f.status && f.status->last_error) return f.status->last_error->what;
  if (f.last_error) return f.last_error->what;
  if (f.status && !f.status->reason.empty()) return f.status->reason;
  return {};
}

std::string with_reason(const std::string& text, const std::string& reason) {
  return reason.empty() ? text : text + ": " + reason;
}

std::string link_words(const GuestFacts& f) {
  const auto& link = f.status->link;
  if (link.state == "up") return because(f);
  return fmt::format("link to {} lost {} ago", f.peer, rough_duration(milliseconds{link.since_ms}));
}

Words synchronizing(const guard::GuardStatus& s) {
  Words out{"synchronizing", false, "synchronizing"};
  if (s.sync && s.sync->total_bytes != 0) {
    const double share = static_cast<double>(s.sync->done_bytes) / static_cast<double>(s.sync->total_bytes);
    out.text = fmt::format("synchronizing {:.0f} %", 100 * std::clamp(share, 0.0, 1.0));
  }
  return out;
}

Words primary_running(const GuestFacts& f) {
  const auto& s = *f.status;
  if (s.state == "protected") return {"protected", true, "protected"};
  if (s.state == "synchronizing") return synchronizing(s);
  if (s.state == "interrupted")
    return {"interrupted", false, fmt::format("interrupted, output held: {}", link_words(f))};
  if (s.state == "alone") return {"unprotected", false, with_reason("UNPROTECTED", link_words(f))};
  if (s.state == "fenced")
    return {"superseded", false, fmt::format("stopped: {} runs it in a later generation", f.peer)};
  if (s.state == "ended") return {"ending", false, "protection is ending"};
  return {"unprotected", false, with_reason("UNPROTECTED", link_words(f))};
}

Words primary_words(const GuestFacts& f) {
  if (f.superseded)
    return {"superseded", false, fmt::format("stopped: {} runs it in a later generation", f.peer)};
  if (f.guest_exists == false) return {"gone", false, "GONE: the guest has ended"};
  if (!f.guard_exists)
    return {"unprotected", false, with_reason("UNPROTECTED: its guard is not running", because(f))};
  if (!f.status) return {"starting", false, "starting: its guard has not answered yet"};
  switch (f.status->phase) {
    case guard::Phase::starting: return {"starting", false, "starting: examining the guest"};
    case guard::Phase::described:
      return {"unprotected", false,
              with_reason(fmt::format("UNPROTECTED: waiting for {}", f.peer), because(f))};
    case guard::Phase::refused: return {"unprotected", false, with_reason("UNPROTECTED", because(f))};
    case guard::Phase::ended: return {"ending", false, "protection is ending"};
    case guard::Phase::running: return primary_running(f);
  }
  return {"unknown", false, "unknown"};
}

Words backup_words(const GuestFacts& f) {
  if (!f.guard_exists)
    return {"no-standby", false, with_reason(fmt::format("NO STANDBY: waiting for {}", f.peer), because(f))};
  if (!f.status || f.status->phase == guard::Phase::starting)
    return {"starting", false, "preparing the standby"};
  const auto& s = *f.status;
  if (s.phase == guard::Phase::refused) return {"no-standby", false, with_reason("NO STANDBY", because(f))};
  if (s.phase == guard::Phase::ended) return {"ending", false, "the standby is being discarded"};
  if (s.state == "standby") return {"standby", true, fmt::format("standing by for {}", f.peer)};
  if (s.state == "synchronizing") {
    auto out = synchronizing(s);
    out.text += fmt::format(" from {}", f.peer);
    return out;
  }
  if (s.state == "suspecting")
    return {"suspecting", false,
            with_reason(fmt::format("suspecting that {} is dead", f.peer),
                        s.link.state == "up" ? s.reason : link_words(f))};
  if (s.state == "stale")
    return {"stale", false,
            with_reason(
                fmt::format("STALE: {} may have gone on without us, only an operator may activate", f.peer),
                s.reason)};
  if (s.state == "claiming")
    return {"claiming", false, with_reason("asking the arbiter for the guest", s.reason)};
  if (s.state == "activating") return {"activating", false, "activating"};
  if (s.state == "active") return {"unprotected", false, "runs here, UNPROTECTED"};
  return {"empty", false, with_reason(fmt::format("empty: waiting for {}", f.peer), s.reason)};
}

Words owner_words(const GuestFacts& f) {
  if (f.guest_exists == false) return {"gone", false, "GONE: the guest has ended"};
  return {"unprotected", false, fmt::format("runs here since a failover from {}, UNPROTECTED", f.peer)};
}

}  // namespace

Words words_for(const GuestFacts& f) {
  Words out;
  switch (f.role) {
    case Role::primary: out = primary_words(f); break;
    case Role::backup: out = backup_words(f); break;
    case Role::owner: out = owner_words(f); break;
  }
  const bool guard_leads = f.role != Role::owner && f.guard_exists && f.status && !f.superseded;
  if (guard_leads && f.guest_exists != false && f.status_age > stale_after)
    out = {"unknown", false,
           fmt::format("UNKNOWN: its guard has not answered for {} (last: {})", rough_duration(f.status_age),
                       out.text)};
  if (!f.doing.empty() && !out.is_protected && out.state != "synchronizing")
    out.text = fmt::format("{} ({})", out.text, f.doing);
  return out;
}

std::string rough_duration(milliseconds duration) {
  const auto ms = std::max<std::int64_t>(0, duration.count());
  const auto s = ms / 1000;
  if (ms < 1000) return fmt::format("{} ms", ms);
  if (s < 120) return fmt::format("{} s", s);
  if (s < 7200) return fmt::format("{} min", s / 60);
  if (s < 172800) return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
  return fmt::format("{} days", s / 86400);
}

}  // namespace remus::daemon
