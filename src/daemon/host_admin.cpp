// What administrators ask for.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "base/files.hpp"
#include "daemon/host.hpp"
#include "daemon/json_fields.hpp"
#include "hypervisor/xen/presence.hpp"

namespace remus::daemon {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

namespace {

constexpr milliseconds peer_limit{3'000};
constexpr milliseconds lock_limit{30'000};
constexpr milliseconds describe_limit{20'000};
constexpr milliseconds unprotect_limit{30'000};
constexpr milliseconds failover_limit{60'000};
constexpr milliseconds verify_limit{12 * 3'600'000};  // terabytes, at what their disks read

json view_of(const Guest& guest) {
  const auto facts = guest.facts();
  const auto words = words_for(facts);
  const auto& r = guest.registration;
  const bool heard = facts.status.has_value();
  const auto memory = number_at(r.description, "memory_bytes");
  return {{"name", r.guest},
          {"role", to_string(r.role)},
          {"peer", r.peer},
          {"state", words.state},
          {"protected", words.is_protected},
          {"text", words.text},
          {"generation", r.generation},
          {"memory_bytes", memory != 0 ? json(memory) : json{}},
          {"hypervisor", r.hypervisor},
          {"qmp", r.qmp},
          {"domid", r.guest_domid != 0 && r.role != Role::backup ? json(r.guest_domid) : json{}},
          {"doing", *guest.doing},
          {"last_error", guest.last_error ? guard::to_json(*guest.last_error)["error"] : json{}},
          {"guard_running", facts.guard_exists},
          {"guest_running", facts.guest_exists ? json(*facts.guest_exists) : json{}},
          {"status_age_ms", heard ? json(facts.status_age.count()) : json{}},
          {"guard", heard ? guard::to_json(*facts.status) : json{}}};
}

}  // namespace

json Host::describe() const {
  auto peers = json::array();
  for (const auto& [name, peer] : peers_.all()) {
    auto addresses = json::array();
    for (const auto& endpoint : peer.addresses) addresses.push_back(guard::to_string(endpoint));
    peers.push_back({{"name", name}, {"addresses", addresses}, {"configured", peers_.configured(name)}});
  }
  return {{"host", config_.host},           {"version", REMUS_VERSION},
          {"peer_api", peer_api_version},   {"config", config_.file.string()},
          {"peer_port", config_.peer_port}, {"guests", guests_.size()},
          {"peers", std::move(peers)},      {"defaults", guard::to_json(config_.defaults)}};
}

json Host::guests() const {
  auto out = json::array();
  for (const auto& [name, guest] : guests_) out.push_back(view_of(*guest));
  return out;
}

Result<json> Host::guest(const std::string& name) const {
  auto found = find(name);
  if (!found) return pass_on(found.error());
  return view_of(**found);
}

Result<GuestPtr> Host::find(const std::string& name) const {
  const auto found = guests_.find(name);
  if (found != guests_.end()) return found->second;
  return fail(Errc::not_found, fmt::format("no guest '{}' is known on {}", name, config_.host),
              "see: remus status");
}

Task<Result<Lock>> Host::acquire(GuestPtr guest, std::string doing) {
  const auto until = steady_clock::now() + lock_limit;
  while (!guest->doing->empty()) {
    if (steady_clock::now() > until)
      co_return fail(Errc::exists, fmt::format("{} is busy: {}", guest->registration.guest, *guest->doing),
                     "try again later");
    co_await sleep_for(milliseconds{20});
  }
  *guest->doing = std::move(doing);
  co_return Lock{guest->doing};
}

Task<Status> Host::check_peer(std::string peer) {
  http::Call call{"GET", "/v1/peer/hello", {}};
  auto hello = co_await peers_.ask(peer, std::move(call), peer_limit);
  if (!hello) co_return pass_on(hello.error());
  const auto version = text_at(*hello, "version");
  if (number_at(*hello, "peer_api") != peer_api_version)
    co_return fail(Errc::incompatible,
                   fmt::format("{} runs remus {} and this host {}: they do not understand each other", peer,
                               version, REMUS_VERSION),
                   "bring both hosts to the same version");
  co_return Status{};
}

Task<Result<json>> Host::protect(ProtectRequest request) {
  if (auto status = guard::validate_guest_name(request.guest); !status) co_return pass_on(status.error());
  if (request.to == config_.host)
    co_return fail(Errc::invalid,
                   fmt::format("{} is this host: a guest is protected to another one", request.to));
  auto options = guard::options_from_json(request.options.is_null() ? json::object() : request.options,
                                          config_.defaults);
  if (!options) co_return pass_on(options.error());

  GuestPtr guest;
  const auto known = guests_.find(request.guest);
  if (known != guests_.end()) {
    guest = known->second;
    const auto& r = guest->registration;
    if (r.role == Role::primary)
      co_return fail(Errc::exists, fmt::format("{} is protected to {} already", r.guest, r.peer),
                     "to protect it elsewhere, unprotect it first");
    if (r.role == Role::backup)
      co_return fail(Errc::refused,
                     fmt::format("{} runs on {}; this host keeps its standby", r.guest, r.peer),
                     fmt::format("protect it from {}", r.peer));
    if (!guest->doing->empty())
      co_return fail(Errc::exists, fmt::format("{} is busy: {}", r.guest, *guest->doing));
  }
  if (request.qmp.empty() && guest) request.qmp = guest->registration.qmp;
  const bool on_xen = request.qmp.empty() && hypervisor::xen::on_xen_host();
  if (request.qmp.empty() && !on_xen)
    co_return fail(Errc::invalid,
                   fmt::format("where is the QMP socket of {}? ({} does not run Xen, whose guests need none)",
                               request.guest, config_.host),
                   "give it with --qmp; start QEMU with -qmp unix:PATH,server=on,wait=off");
  if (!on_xen && !std::filesystem::path{request.qmp}.is_absolute())
    co_return fail(Errc::invalid, fmt::format("'{}' is not an absolute path", request.qmp));

  const bool fresh = !guest;
  const Registration before = guest ? guest->registration : Registration{};
  if (fresh) {
    // The name is taken before the first wait, so that a second request for it is told.
    guest = std::make_shared<Guest>();
    guest->registration.guest = request.guest;
    guests_[request.guest] = guest;
  }
  *guest->doing = "protecting";
  const Lock lock{guest->doing};
  guest->registration.peer = request.to;
  guest->registration.options = std::move(*options);
  const std::string name = request.guest;
  const bool dry_run = request.dry_run;
  auto result = co_await protect_locked(guest, std::move(request));
  if (!result || dry_run) {
    if (fresh) {
      forget(*guest);
    } else {
      const auto generation = guest->registration.generation;
      guest->registration = before;
      guest->registration.generation = generation;
    }
  }
  if (!result) events_.add(name, "error", fmt::format("could not be protected: {}", result.error().text()));
  co_return result;
}

Task<Result<json>> Host::protect_locked(GuestPtr guest, ProtectRequest request) {
  auto& r = guest->registration;
  if (auto status = co_await check_peer(request.to); !status) co_return pass_on(status.error());
  // Before anything is begun: a full disk must be found now, not when a generation has to be recorded.
  auto record = guard::StateFile::open(guard::state_file(config_.dirs.state, r.guest));
  if (!record) co_return pass_on(record.error());
  r.generation = std::max(r.generation, record->record().generation);
  if (request.dry_run && guest->guard && guest->guard->exists())
    co_return fail(
        Errc::refused,
        fmt::format("{} is still held by the guard that activated it, which a dry run may not end", r.guest));
  if (!request.dry_run) {
    if (auto status = co_await let_go_of_activated(guest); !status) co_return pass_on(status.error());
  }

  const auto old_role = r.role;
  r.role = Role::primary;
  r.qmp = request.qmp;
  r.hypervisor = request.qmp.empty() ? "xen" : "qemu";
  guest->forget_where();
  auto description = co_await examine(guest, false);
  if (!description || request.dry_run) {
    co_await end_guard(guest, "/v1/unprotect");
    r.role = old_role;
    if (!description) co_return pass_on(description.error());
    co_return json{{"dry_run", true}, {"description", *description}};
  }
  r.description = *description;
  auto prepared = co_await prepare_at_peer(guest);
  if (prepared && prepared->superseded_by != 0)
    prepared =
        fail(Errc::exists,
             fmt::format("{} runs {} itself, in generation {}", r.peer, r.guest, prepared->superseded_by),
             "protect it from there, or unprotect it there first");
  if (!prepared) {
    co_await end_guard(guest, "/v1/unprotect");
    r.role = old_role;
    co_return pass_on(prepared.error());
  }
  auto status = registry_.save(r);
  if (status) {
    guest->registered = true;
    status = co_await connect(guest, prepared->port);
    if (status) {
      guest->superseded = false;
      succeeded(*guest);
      events_.add(r.guest, "protect", fmt::format("is being protected to {}", r.peer));
      co_return view_of(*guest);
    }
  }
  // Back, in reverse order.
  guest->registered = old_role == Role::owner;
  if (auto removed = registry_.remove(r.guest); !removed) spdlog::error("{}", removed.error().text());
  http::Call discard{"DELETE", fmt::format("/v1/peer/standbys/{}", r.guest), {}};
  auto discarded = co_await peers_.ask(r.peer, std::move(discard), peer_limit);
  if (!discarded)
    spdlog::warn("{}: standby on {} not discarded: {}", r.guest, r.peer, discarded.error().text());
  co_await end_guard(guest, "/v1/unprotect");
  r.role = old_role;
  co_return pass_on(status.error());
}

/// A guest that came here by a failover still has the guard that activated it: it hands over before another
/// guard attaches.
Task<Status> Host::let_go_of_activated(GuestPtr guest) {
  if (guest->registration.role != Role::owner || !guest->guard || !guest->guard->exists()) co_return Status{};
  auto answer = co_await guest->guard->call("POST", "/v1/handover", json::object(), unprotect_limit);
  if (!answer) co_return pass_on(answer.error().in("the guard that activated the guest does not hand over"));
  if (!co_await guest->guard->wait_for_exit(seconds{10}))
    co_return fail(Errc::timeout, "the guard that activated the guest handed over but has not ended",
                   "try again");
  forget_guard(*guest);
  co_return Status{};
}

Task<Result<json>> Host::examine(GuestPtr guest, bool rescue_first) {
  auto spec = spec_for(*guest, guard::Side::primary);
  spec.rescue_first = rescue_first;
  if (auto status = co_await start_guard(guest, std::move(spec)); !status) co_return pass_on(status.error());
  co_return co_await ask_until_ready(guest, "/v1/description", describe_limit);
}

Task<Result<json>> Host::unprotect(std::string name, bool force) {
  auto found = find(name);
  if (!found) co_return pass_on(found.error());
  const GuestPtr& guest = *found;
  auto lock = co_await acquire(guest, "unprotecting");
  if (!lock) co_return pass_on(lock.error());
  const auto role = guest->registration.role;
  const std::string peer = guest->registration.peer;
  if (role == Role::backup && !force)
    co_return fail(Errc::refused, fmt::format("{} runs on {}; this host keeps its standby", name, peer),
                   fmt::format("unprotect it on {}, or discard the standby here with --force", peer));

  auto warnings = json::array();
  if (role == Role::primary) {
    if (guest_lives(*guest) && !(guest->guard && guest->guard->exists()) && !guest->superseded) {
      // What a dead guard left in the guest is taken out by a fresh one.
      auto examined = co_await examine(guest, true);
      if (!examined)
        warnings.push_back(fmt::format("the guest could not be examined: {}", examined.error().text()));
    }
    if (guest->guard && guest->guard->exists()) {
      auto answer = co_await guest->guard->call("POST", "/v1/unprotect", json::object(), unprotect_limit);
      if (!answer && guest->guard->exists())
        co_return pass_on(answer.error().in(fmt::format("the guard of {} does not let go", name)));
    }
    co_await end_guard(guest, "/v1/unprotect");
    http::Call discard{"DELETE", fmt::format("/v1/peer/standbys/{}", name), {}};
    auto discarded = co_await peers_.ask(peer, std::move(discard), peer_limit);
    if (!discarded && discarded.error().kind != Errc::not_found)
      warnings.push_back(fmt::format("the standby on {} will be discarded when it is back: {}", peer,
                                     discarded.error().what));
  } else {
    co_await end_guard(guest, role == Role::owner ? "/v1/handover" : "/v1/stop");
  }
  if (auto status = registry_.remove(name); !status) co_return pass_on(status.error());
  forget(*guest);
  events_.add(name, "unprotect", role == Role::primary ? "is not protected any more" : "is forgotten here");
  co_return json{{"name", name}, {"warnings", std::move(warnings)}};
}

void Host::forget(Guest& guest) {
  const std::string name = guest.registration.guest;
  forget_guard(guest);
  guest.process.reset();
  guest.domain.reset();
  guest.registered = false;
  for (const auto side : {guard::Side::primary, guard::Side::backup}) {
    auto file = guard::spec_file(config_.dirs.run, name, side);
    for (const char* extension : {".spec", ".pid", ".sock"}) {
      file.replace_extension(extension);
      if (auto status = remove_file(file); !status) spdlog::warn("{}", status.error().text());
    }
  }
  guests_.erase(name);
}

Task<Result<json>> Host::failover(std::string name, bool force) {
  auto found = find(name);
  if (!found) co_return pass_on(found.error());
  const GuestPtr& guest = *found;
  if (guest->registration.role != Role::backup)
    co_return fail(Errc::refused, fmt::format("{} runs on this host already", name),
                   fmt::format("run it on {}, which would take the guest over", guest->registration.peer));
  auto lock = co_await acquire(guest, "failing over");
  if (!lock) co_return pass_on(lock.error());
  if (!guest->guard || !guest->guard->exists())
    co_return fail(Errc::refused, fmt::format("there is no standby of {}: its guard is not running", name));
  json request = json::object();
  request["force"] = force;
  auto report = co_await guest->guard->call("POST", "/v1/failover", std::move(request), failover_limit);
  if (!report) co_return pass_on(report.error());
  if (guest->guard) {
    auto status = co_await guest->guard->refresh();
    if (!status)
      spdlog::warn("{}: activated, but its guard does not answer: {}", name, status.error().text());
  }
  co_return report;
}

Task<Result<json>> Host::verify(std::string name, json request) {
  auto found = find(name);
  if (!found) co_return pass_on(found.error());
  const GuestPtr& guest = *found;
  if (guest->registration.role != Role::primary || !guest->guard || !guest->guard->exists())
    co_return fail(Errc::refused, fmt::format("{} is not protected from this host now", name),
                   "see: remus status");
  co_return co_await guest->guard->call("POST", "/v1/verify", std::move(request), verify_limit);
}

Task<Result<json>> Host::adjust(std::string name, json changes) {
  auto found = find(name);
  if (!found) co_return pass_on(found.error());
  const GuestPtr& guest = *found;
  if (guest->registration.role != Role::primary)
    co_return fail(Errc::refused, fmt::format("{} is not protected from this host", name));
  auto options = guard::options_from_json(changes, guest->registration.options);
  if (!options) co_return pass_on(options.error());
  auto lock = co_await acquire(guest, "adjusting");
  if (!lock) co_return pass_on(lock.error());
  if (guest->guard && guest->guard->exists()) {
    auto answer = co_await guest->guard->call("POST", "/v1/adjust", changes, milliseconds{5000});
    if (!answer) co_return pass_on(answer.error());
  }
  auto changed = guest->registration;
  changed.options = std::move(*options);
  if (auto status = registry_.save(changed); !status) co_return pass_on(status.error());
  guest->registration = std::move(changed);
  co_return guard::to_json(guest->registration.options);
}

Task<json> Host::peer_states() {
  auto out = json::array();
  std::vector<std::string> names;
  for (const auto& [name, peer] : peers_.all()) names.push_back(name);
  for (const auto& name : names) {
    http::Call call{"GET", "/v1/peer/hello", {}};
    auto hello = co_await peers_.ask(name, std::move(call), milliseconds{1500});
    json state = json::object();
    state["name"] = name;
    state["reachable"] = hello.has_value();
    state["address"] = peers_.last_address(name);
    state["hello"] = hello ? *hello : json{};
    state["error"] = hello ? json{} : guard::to_json(hello.error())["error"];
    out.push_back(std::move(state));
  }
  co_return out;
}

Status Host::remove_peer(const std::string& name) {
  for (const auto& [guest_name, guest] : guests_)
    if (guest->registration.peer == name && guest->registration.role != Role::owner)
      return fail(Errc::refused, fmt::format("{} is protected between this host and {}", guest_name, name),
                  fmt::format("unprotect {} first", guest_name));
  return peers_.remove(name);
}

}  // namespace remus::daemon
