// Taking care: what is, is compared with what should be, a few times a second, and the difference acted on.
//
//   guest   guard    what is done (at the primary)
//   lives   lives    unconnected for a while → prepare the standby again, tell the guard where it is
//   lives   gone     ask the peer first: a later generation there → fence; else a new guard, which rescues
//                    the guest
//   gone    gone     ask the peer: it runs there → forget it here; no standby there → it was shut down, forget it
//
// Everything that fails is tried again, ever more slowly up to half a minute.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "daemon/host.hpp"
#include "daemon/json_fields.hpp"

namespace remus::daemon {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

namespace {

constexpr milliseconds tend_interval{250};
constexpr milliseconds settle_interval{100};
constexpr milliseconds peer_limit{1'500};
constexpr milliseconds prepare_limit{60'000};
constexpr milliseconds connect_limit{5'000};
constexpr milliseconds fence_limit{30'000};
/// The guard itself reconnects within this; only then its standby is asked for again.
constexpr std::uint64_t link_patience_ms = 1'000;
constexpr milliseconds retry_min{500};
constexpr milliseconds retry_max{30'000};

}  // namespace

void Host::try_later(Guest& guest, Error error) {
  const unsigned doublings = std::min(guest.failures, 6U);
  guest.next_try = steady_clock::now() + std::min(retry_max, retry_min * (1U << doublings));
  ++guest.failures;
  if (!guest.last_error || guest.last_error->what != error.what)
    events_.add(guest.registration.guest, "error", error.text());
  guest.last_error = std::move(error);
}

void Host::succeeded(Guest& guest) {
  guest.failures = 0;
  guest.last_error.reset();
}

Task<Result<Host::Prepared>> Host::prepare_at_peer(GuestPtr guest) {
  const auto& r = guest->registration;
  // Finds the path that works, quickly: what follows may take long for good reasons.
  if (auto status = co_await check_peer(r.peer); !status) co_return std::unexpected(status.error());
  const auto record = record_of(r.guest);
  json body = json::object();
  body["guest"] = r.guest;
  body["generation"] = std::max(r.generation, record.generation);
  body["description"] = r.description;
  body["options"] = guard::to_json(r.options);
  http::Call call{"POST", "/v1/peer/standbys", body.dump()};
  const std::string peer = r.peer;
  auto answer = co_await peers_.ask(peer, std::move(call), prepare_limit);
  if (!answer) co_return std::unexpected(answer.error().in(fmt::format("preparing the standby on {}", peer)));
  Prepared out;
  out.superseded_by = number_at(*answer, "superseded_by");
  out.port = static_cast<std::uint16_t>(number_at(*answer, "port"));
  if (out.port == 0 && out.superseded_by == 0)
    co_return fail(Errc::corrupt, fmt::format("{} named no port", peer));
  co_return out;
}

Task<Status> Host::connect(GuestPtr guest, std::uint16_t port) {
  const Peer* peer = peers_.find(guest->registration.peer);
  if (peer == nullptr)
    co_return fail(Errc::not_found, fmt::format("no peer '{}' is known", guest->registration.peer));
  if (!guest->guard) co_return fail(Errc::closed, "the guard has ended");
  auto links = json::array();
  for (const auto& endpoint : peer->addresses)
    links.push_back(guard::to_string(guard::Endpoint{endpoint.host, port}));
  json body = json::object();
  body["links"] = std::move(links);
  auto answer = co_await guest->guard->call("POST", "/v1/connect", std::move(body), connect_limit);
  if (!answer) co_return std::unexpected(answer.error());
  co_return Status{};
}

Task<void> Host::tend_all() {
  for (;;) {
    std::vector<GuestPtr> all;
    all.reserve(guests_.size());
    for (const auto& [name, guest] : guests_) all.push_back(guest);
    for (const auto& guest : all) {
      if (guest->domain && guest->domain->ended_since_last_look())
        events_.add(guest->registration.guest, "guest", "the guest's domain has ended");
      const bool due = guest->registered && guest->doing->empty() && steady_clock::now() >= guest->next_try;
      if (due)
        daemon::start(io_,
                      tend(guest));  // each by itself: a peer that does not answer holds up no other guest
    }
    co_await sleep_for(tend_interval);
  }
}

Task<void> Host::settle_events() {
  for (;;) {
    events_.settle();
    co_await sleep_for(settle_interval);
  }
}

Task<void> Host::tend(GuestPtr guest) {
  if (!guest->doing->empty()) co_return;
  switch (guest->registration.role) {
    case Role::primary: co_await tend_primary(guest); break;
    case Role::backup: co_await tend_backup(guest); break;
    case Role::owner: break;
  }
}

Task<void> Host::tend_primary(GuestPtr guest) {
  const bool guard_lives = guest->guard && guest->guard->exists();
  if (guard_lives && !guest->superseded) {
    co_await tend_connection(guest);
  } else if (!guard_lives && guest_lives(*guest) && !guest->superseded) {
    co_await bring_back_guard(guest);
  } else if (!guard_lives) {
    co_await settle_gone(guest);
  }
}

Task<void> Host::tend_connection(GuestPtr guest) {
  const auto& status = guest->guard->status();
  if (!status || guest->guard->status_age() > GuardHandle::poll_timeout) co_return;
  if (status->state == "fenced") {
    guest->superseded = true;
    events_.add(guest->registration.guest, "superseded",
                fmt::format("{} runs it in a later generation: the guest here was stopped",
                            guest->registration.peer));
    co_return;
  }
  const bool connected = status->link.state == "up" || status->link.since_ms < link_patience_ms;
  const bool wanting = status->phase == guard::Phase::described ||
                       (status->phase == guard::Phase::running && status->state != "ended" && !connected);
  if (status->phase == guard::Phase::refused) {
    Error error = status->last_error.value_or(Error{Errc::refused, "the guest is refused", {}});
    *guest->doing = "taking back a refused guard";
    const Lock lock{guest->doing};
    co_await end_guard(guest, "/v1/unprotect");
    try_later(*guest, std::move(error));
    co_return;
  }
  if (!wanting) co_return;

  *guest->doing = fmt::format("looking for the standby on {}", guest->registration.peer);
  const Lock lock{guest->doing};
  auto prepared = co_await prepare_at_peer(guest);
  Status done{};
  if (!prepared) {
    done = std::unexpected(prepared.error());
  } else if (prepared->superseded_by != 0) {
    if (guest->guard) {
      json body = json::object();
      body["generation"] = prepared->superseded_by;
      body["host"] = guest->registration.peer;
      auto answer = co_await guest->guard->call("POST", "/v1/superseded", std::move(body), connect_limit);
      if (!answer) done = std::unexpected(answer.error());
    }
  } else {
    done = co_await connect(guest, prepared->port);
  }
  if (!done) {
    try_later(*guest, done.error());
  } else {
    // Whether it helped shows in the guard's state; asking again at once would not.
    guest->next_try = steady_clock::now() + seconds{2};
  }
}

/// The guard died and left a guest that lives. The peer is asked first: it may have taken the guest over
/// meanwhile, and a guest that is resumed here would then run twice.
Task<void> Host::bring_back_guard(GuestPtr guest) {
  *guest->doing = "bringing back its guard";
  const Lock lock{guest->doing};
  const auto& r = guest->registration;
  const std::string peer = r.peer;
  http::Call question{"GET", fmt::format("/v1/peer/guests/{}/report", r.guest), {}};
  auto answer = co_await peers_.ask(peer, std::move(question), peer_limit);
  const auto ours = std::max(r.generation, record_of(r.guest).generation);
  if (answer) {
    const auto report = guard::report_from_json(*answer);
    if (report && report->generation > ours && text_at(*answer, "role") == "owner") {
      co_await fence(guest, report->generation);
      co_return;
    }
  }
  auto description = co_await examine(guest, true);
  if (!description) {
    co_await end_guard(guest, "/v1/unprotect");
    try_later(*guest, description.error().in("bringing back the guard"));
    co_return;
  }
  guest->registration.description = *description;
  guest->next_try = steady_clock::now();
  events_.add(guest->registration.guest, "guard", "its guard was brought back; the guest runs");
}

Task<void> Host::fence(GuestPtr guest, std::uint64_t generation) {
  auto spec = spec_for(*guest, guard::Side::primary);
  spec.superseded_by = generation;
  auto started = co_await start_guard(guest, std::move(spec));
  const bool ended = guest->guard && co_await guest->guard->wait_for_exit(fence_limit);
  if (!ended) {
    Error error =
        started ? Error{Errc::timeout, "the guard that should stop the superseded guest has not ended", {}}
                : started.error();
    if (record_of(guest->registration.guest).superseded_by == 0) {
      try_later(*guest, std::move(error));
      co_return;
    }
  }
  forget_guard(*guest);
  guest->superseded = record_of(guest->registration.guest).superseded_by != 0;
  if (!guest->superseded) {
    try_later(*guest,
              Error{Errc::internal, "the superseded guest could not be stopped", "stop it by hand now"});
    co_return;
  }
  events_.add(guest->registration.guest, "superseded",
              fmt::format("{} runs it in generation {}: the guest here was stopped", guest->registration.peer,
                          generation));
}

/// Neither guest nor guard here. What became of it, only the peer knows.
Task<void> Host::settle_gone(GuestPtr guest) {
  *guest->doing = "asking what became of it";
  const Lock lock{guest->doing};
  const std::string name = guest->registration.guest;
  const std::string peer = guest->registration.peer;
  http::Call question{"GET", fmt::format("/v1/peer/guests/{}/report", name), {}};
  auto answer = co_await peers_.ask(peer, std::move(question), peer_limit);
  guest->next_try = steady_clock::now() + seconds{3};
  const bool unknown_there =
      !answer && answer.error().kind == Errc::not_found && peers_.find(peer) != nullptr;
  std::string why;
  if (unknown_there) {
    why = fmt::format("the guest was shut down: its protection to {} has ended", peer);
  } else if (answer) {
    const auto report = guard::report_from_json(*answer);
    const auto ours = std::max(guest->registration.generation, record_of(name).generation);
    if (report && text_at(*answer, "role") == "owner" && report->generation > ours)
      why = fmt::format("{} runs it in generation {}: it is forgotten here", peer, report->generation);
  }
  if (why.empty()) co_return;
  if (auto status = registry_.remove(name); !status) {
    try_later(*guest, status.error());
    co_return;
  }
  forget(*guest);
  events_.add(name, "forgotten", why);
}

Task<void> Host::tend_backup(GuestPtr guest) {
  const auto record = record_of(guest->registration.guest);
  const bool guard_lives = guest->guard && guest->guard->exists();
  if (!guard_lives && record.role == guard::HostRole::primary) {
    // It activated the guest, recorded that, and died before we heard of it.
    become_owner(*guest, nullptr, record.generation);
    co_return;
  }
  if (guard_lives) {
    const auto& status = guest->guard->status();
    if (!status || status->link.state == "up" || status->link.since_ms < 10 * link_patience_ms) co_return;
    if (status->state == "active" || status->state == "activating" || status->state == "claiming") co_return;
  }
  // Its primary is silent, or its guard is gone. If the primary's host does not protect it to us any more, it
  // is void.
  const std::string name = guest->registration.guest;
  const std::string peer = guest->registration.peer;
  *guest->doing = fmt::format("asking {} about it", peer);
  const Lock lock{guest->doing};
  http::Call question{"GET", fmt::format("/v1/peer/guests/{}/report", name), {}};
  auto answer = co_await peers_.ask(peer, std::move(question), peer_limit);
  guest->next_try = steady_clock::now() + seconds{5};
  if (answer || answer.error().kind != Errc::not_found || peers_.find(peer) == nullptr) co_return;
  // A primary's host that was rebuilt does not know the guest either: what may be the last copy of it is
  // never thrown away by us. Only a standby without image goes.
  const auto& status = guest->guard ? guest->guard->status() : std::nullopt;
  const bool image =
      guard_lives && status &&
      (status->state == "standby" || status->state == "suspecting" || status->state == "stale");
  if (image) {
    guest->last_error =
        Error{Errc::not_found, fmt::format("{} does not protect {} to this host any more", peer, name),
              fmt::format("discard the standby: remus unprotect {} --force; or take the guest over: remus "
                          "failover {} --force",
                          name, name)};
    co_return;
  }
  co_await end_guard(guest, "/v1/stop");
  if (auto status_removed = registry_.remove(name); !status_removed) {
    try_later(*guest, status_removed.error());
    co_return;
  }
  forget(*guest);
  events_.add(name, "standby", fmt::format("{} does not protect it to this host any more: discarded", peer));
}

void Host::become_owner(Guest& guest, const json& handle, std::uint64_t generation) {
  auto& r = guest.registration;
  r.role = Role::owner;
  r.generation = std::max(r.generation, generation);
  // A guard that died as it took over has told of its standby before: that one is registered.
  if (handle.is_object()) r.handle = handle;
  if (const auto qmp = text_at(r.handle, "qmp"); !qmp.empty()) r.qmp = qmp;
  if (r.hypervisor == "xen")
    watch_domain(guest, static_cast<std::uint32_t>(number_at(r.handle, "domid")), {});
  else
    watch_guest(guest, static_cast<std::uint32_t>(number_at(r.handle, "pid")), 0);
  guest.superseded = false;
  if (auto status = registry_.save(r); !status) {
    // The generation is in the state file, written by the guard. This is tried again with the next status.
    r.role = Role::backup;
    if (!guest.last_error) events_.add(r.guest, "error", status.error().text());
    guest.last_error = status.error();
    return;
  }
  events_.add(r.guest, "failover", fmt::format("runs here now, in generation {}, unprotected", r.generation),
              guest.guard && guest.guard->status() && guest.guard->status()->failover
                  ? guard::to_json(*guest.guard->status())["failover"]
                  : json{});
}

}  // namespace remus::daemon
