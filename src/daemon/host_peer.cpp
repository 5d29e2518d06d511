// What other hosts ask for: a standby for a guest of theirs, and whether a guest of ours is alive.
#include <fmt/format.h>

#include <ctime>
#include <utility>

#include "daemon/doctor.hpp"
#include "daemon/host.hpp"
#include "daemon/json_fields.hpp"
#include "hypervisor/xen/presence.hpp"

namespace remus::daemon {

using nlohmann::json;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds standby_limit{60'000};

struct PrepareRequest {
  std::string guest{};
  std::uint64_t generation{};
  json description{};
  guard::GuestOptions options{};
};

Result<PrepareRequest> read(const json& body) {
  PrepareRequest out;
  guard::StrictObject object{body, guard::Where{}};
  object.read("guest", out.guest, guard::Need::required)
      .read("generation", out.generation, guard::Need::required)
      .read_with(
          "description",
          [&](const json& value, const guard::Where& where) -> Status {
            auto description = guard::description_from_json(value, where);
            if (!description) return std::unexpected(description.error());
            out.description = guard::to_json(*description);
            return {};
          },
          guard::Need::required)
      .read_with("options", [&](const json& value, const guard::Where& where) -> Status {
        auto options = guard::options_from_json(value, {}, where);
        if (!options) return std::unexpected(options.error());
        out.options = std::move(*options);
        return {};
      });
  if (auto status = object.finish(); !status) return std::unexpected(status.error());
  if (auto status = guard::validate_guest_name(out.guest); !status) return std::unexpected(status.error());
  return out;
}

}  // namespace

json Host::hello() const {
  json out{{"host", config_.host},
           {"version", REMUS_VERSION},
           {"peer_api", peer_api_version},
           {"time", guard::utc_now()},
           {"time_s", static_cast<std::int64_t>(std::time(nullptr))}};
  if (const auto room = doctor::room_for_standbys(config_.dirs.image)) {
    out["memory_available_bytes"] = room->memory_bytes;
    out["image_free_bytes"] = room->image_bytes;
  }
  if (const auto xen = hypervisor::xen::xen_facts())
    out["xen"] = {{"version", xen->version}, {"free_bytes", xen->free_bytes}};
  return out;
}

/// May be asked again and again (a lost answer, a primary that looks for its standby): the standby that is
/// there and still fits is answered, anything else is replaced, a guest that runs here never.
Task<Result<json>> Host::prepare_standby(std::string from, json body) {
  auto request = read(body);
  if (!request) co_return pass_on(request.error());
  const std::string name = request->guest;
  auto& slot = guests_[name];
  const bool fresh = !slot;
  if (fresh) {
    slot = std::make_shared<Guest>();
    slot->registration.guest = name;
    slot->registration.role = Role::backup;
    slot->registration.peer = from;
  }
  const GuestPtr guest = slot;
  auto lock = co_await acquire(guest, fmt::format("preparing a standby for {}", from));
  if (!lock) co_return pass_on(lock.error());

  const auto give_up = [&](Error error) {
    if (!guest->registered) {
      forget_guard(*guest);
      if (const auto now = guests_.find(name); now != guests_.end() && now->second == guest)
        guests_.erase(now);
    } else {
      guest->last_error = error;
    }
    return pass_on(std::move(error));
  };

  auto& r = guest->registration;
  const auto record = record_of(name);
  const bool ours = guest->registered && r.role != Role::backup;
  const bool runs_here = ours && guest_lives(*guest) && !guest->superseded;
  const bool activated =
      r.role == Role::backup && guest->guard && guest->guard->exists() && guest->guard->status() &&
      (guest->guard->status()->state == "active" || guest->guard->status()->state == "activating");
  if ((runs_here || activated) && record.generation > request->generation)
    co_return json{{"superseded_by", record.generation}};
  if (runs_here || activated)
    co_return fail(Errc::exists, fmt::format("{} has a running guest named {} itself", config_.host, name),
                   "protect the guest under another name");
  if (ours && r.peer != from)
    co_return fail(Errc::exists,
                   fmt::format("{} knows a guest named {} that belongs to {}", config_.host, name, r.peer),
                   fmt::format("on {}: remus unprotect {}", config_.host, name));
  if (guest->registered && r.role == Role::backup && r.peer != from)
    co_return fail(Errc::exists,
                   fmt::format("{} keeps a standby of {} for {} already", config_.host, name, r.peer));
  if (record.generation > request->generation)
    co_return give_up(Error{Errc::incompatible,
                            fmt::format("{} holds generation {} of {}, which is later than {} at {}",
                                        config_.host, record.generation, name, request->generation, from),
                            "find out which host's guest is the true one before anything is protected"});

  const bool same = r.role == Role::backup && r.description == request->description;
  if (same && guest->guard && guest->guard->exists()) {
    auto ready = co_await ask_until_ready(guest, "/v1/ready", standby_limit);
    if (ready) co_return json{{"port", number_at(*ready, "port")}};
  }
  co_await end_guard(guest, r.role == Role::primary ? "/v1/unprotect"
                            : r.role == Role::owner ? "/v1/handover"
                                                    : "/v1/stop");

  // What was here before (a superseded primary, an ended owner, another standby) is gone: from now on a
  // standby.
  auto file = guard::StateFile::open(guard::state_file(config_.dirs.state, name));
  if (!file) co_return give_up(file.error());
  const guard::StateRecord standby{request->generation, 0, guard::HostRole::backup, false};
  if (auto status = file->write(standby); !status) co_return give_up(status.error());
  guest->superseded = false;
  guest->forget_where();
  r.role = Role::backup;
  r.peer = from;
  r.hypervisor = text_at(request->description, "hypervisor");
  r.qmp.clear();
  r.generation = request->generation;
  r.description = request->description;
  r.options = request->options;

  auto spec = spec_for(*guest, guard::Side::backup);
  auto started = co_await start_guard(guest, std::move(spec));
  Result<json> ready = json{};
  if (started)
    ready = co_await ask_until_ready(guest, "/v1/ready", standby_limit);
  else
    ready = pass_on(started.error());
  if (ready) {
    if (auto saved = registry_.save(r); !saved) ready = pass_on(saved.error());
  }
  if (!ready) {
    co_await end_guard(guest, "/v1/stop");
    co_return give_up(ready.error());
  }
  guest->registered = true;
  guest->last_error.reset();
  events_.add(name, "standby", fmt::format("standby prepared for {}", from));
  co_return json{{"port", number_at(*ready, "port")}};
}

Task<Result<json>> Host::discard_standby(std::string from, std::string name) {
  auto found = find(name);
  if (!found) co_return pass_on(found.error());
  const GuestPtr& guest = *found;
  auto lock = co_await acquire(guest, "discarding the standby");
  if (!lock) co_return pass_on(lock.error());
  if (guest->registration.peer != from)
    co_return fail(Errc::not_found,
                   fmt::format("{} keeps no standby of '{}' for {}", config_.host, name, from));
  if (guest->registration.role != Role::backup)
    co_return fail(Errc::refused, fmt::format("{} runs on {}: it is no standby", name, config_.host));
  co_await end_guard(guest, "/v1/stop");
  if (auto status = registry_.remove(name); !status) co_return pass_on(status.error());
  forget(*guest);
  events_.add(name, "standby", fmt::format("standby discarded for {}", from));
  co_return json::object();
}

/// Answered from the kernel's pidfds or the hypervisor, and one small read, so that a busy daemon does not
/// look like a dead host.
Result<json> Host::report(const std::string& from, const std::string& name) const {
  const auto found = guests_.find(name);
  if (found == guests_.end() || found->second->registration.peer != from)
    return fail(Errc::not_found, fmt::format("{} does not protect '{}' to {}", config_.host, name, from));
  const Guest& guest = *found->second;
  const auto record = record_of(name);
  engine::HostReport report;
  // A guest whose process or domain is not known is taken as running: only its certain end may lead to a
  // failover.
  const bool here = guest.registration.role != Role::backup;
  report.guest_running = here && (!guest.known_here() || guest_lives(guest)) && !guest.superseded;
  report.guard_running = guest.guard && guest.guard->guard_exists();
  report.generation = record.generation;
  report.alone = here && record.alone;
  auto out = guard::to_json(report);
  out["role"] = to_string(guest.registration.role);
  return out;
}

}  // namespace remus::daemon
