// Starting guards, hearing from them, and noticing their end.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "base/files.hpp"
#include "daemon/host.hpp"
#include "daemon/json_fields.hpp"

namespace remus::daemon {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

namespace {

// It answers in milliseconds; a host that swaps, or starts all its guests at once, takes its time.
constexpr milliseconds guard_start_limit{30'000};
constexpr milliseconds guard_end_limit{5'000};
constexpr milliseconds guard_goodbye_limit{30'000};
constexpr milliseconds news_limit{
    200};  ///< a guard that is stopped must not hold up whoever looks at all of them

std::filesystem::path pid_file(const std::filesystem::path& run, const std::string& name, guard::Side side) {
  auto file = guard::spec_file(run, name, side);
  file.replace_extension(".pid");
  return file;
}

}  // namespace

GuestFacts Guest::facts() const {
  GuestFacts f;
  f.role = registration.role;
  f.peer = registration.peer;
  f.doing = *doing;
  f.guard_exists = guard && guard->exists();
  if (process || domain) f.guest_exists = lives();
  if (!process && !domain && registration.role != Role::backup && registered && known_here())
    f.guest_exists = false;
  f.superseded = superseded;
  if (guard) {
    f.status = guard->status();
    f.status_age = guard->status_age();
  }
  f.last_error = last_error;
  return f;
}

void Guest::forget_where() {
  process.reset();
  domain.reset();
  registration.guest_pid = 0;
  registration.guest_start_ticks = 0;
  registration.guest_domid = 0;
  registration.guest_uuid.clear();
}

Task<void> Host::look_again(std::string name) {
  // Shared, since a guard may answer when nobody waits any more.
  const auto open = std::make_shared<std::size_t>(0);
  const auto ask = [](std::shared_ptr<GuardHandle> guard,
                      std::shared_ptr<std::size_t> waiting) -> Task<void> {
    auto status = co_await guard->refresh();
    if (!status) spdlog::debug("a guard does not answer: {}", status.error().text());
    --*waiting;
  };
  for (const auto& [guest_name, guest] : guests_) {
    const bool wanted = name.empty() || guest_name == name;
    if (!wanted || !guest->guard || !guest->guard->exists()) continue;
    ++*open;
    auto task = ask(guest->guard, open);
    daemon::start(io_, std::move(task));
  }
  const auto until = steady_clock::now() + news_limit;
  while (*open > 0 && steady_clock::now() < until) co_await sleep_for(milliseconds{1});
}

guard::Side Host::side_of(const Guest& guest) const {
  return guest.registration.role == Role::primary ? guard::Side::primary : guard::Side::backup;
}

guard::StateRecord Host::record_of(const std::string& name) const {
  return guard::StateFile::peek(guard::state_file(config_.dirs.state, name)).value_or(guard::StateRecord{});
}

bool Host::guest_lives(const Guest& guest) const {
  return guest.lives();
}

guard::GuardSpec Host::spec_for(const Guest& guest, guard::Side side) const {
  const auto& r = guest.registration;
  guard::GuardSpec spec;
  spec.side = side;
  spec.guest = r.guest;
  spec.hypervisor = r.hypervisor;
  spec.host = config_.host;
  spec.peer = r.peer;
  if (const Peer* peer = peers_.find(r.peer)) spec.peer_daemons = peer->addresses;
  spec.dirs = config_.dirs;
  if (!config_.log_dir.empty())
    spec.log_file = config_.log_dir / fmt::format("{}.{}.log", r.guest, guard::to_string(side));
  spec.log_level = config_.log_level;
  spec.options = r.options;
  spec.generation = r.generation;
  if (side == guard::Side::primary) {
    spec.qmp = r.qmp;
  } else {
    spec.listen = {config_.listen, config_.guard_port_first, config_.guard_port_last};
    if (auto description = guard::description_from_json(r.description))
      spec.description = std::move(*description);
  }
  return spec;
}

Result<std::shared_ptr<GuardHandle>> Host::open_guard(const std::string& name, guard::Side side, pid_t pid,
                                                      std::uint64_t ticks) {
  GuardHandle::Handlers handlers;
  handlers.on_status = [this, name](const guard::GuardStatus& status) { heard_from_guard(name, status); };
  handlers.on_event = [this](const guard::GuardEvent& event) { events_.add(event); };
  handlers.on_exit = [this, name](const std::string& how) { guard_ended(name, how); };
  return GuardHandle::open(io_, guard::control_socket(config_.dirs.run, name, side), pid, ticks,
                           std::move(handlers));
}

Task<Status> Host::start_guard(GuestPtr guest, guard::GuardSpec spec) {
  forget_guard(*guest);
  const auto file = guard::spec_file(config_.dirs.run, spec.guest, spec.side);
  if (auto status = write_atomically(file, guard::to_json(spec).dump(2)); !status) co_return status;
  if (auto status = remove_file(guard::control_socket(config_.dirs.run, spec.guest, spec.side)); !status)
    co_return status;
  const std::vector<std::string> arguments{"--spec", file.string()};
  auto pid = spawn_detached(config_.guard_binary, arguments);
  if (!pid) co_return std::unexpected(pid.error());
  auto handle = open_guard(spec.guest, spec.side, *pid, 0);
  if (!handle) co_return fail(Errc::internal, fmt::format("the guard of {} ended at its start", spec.guest));
  guest->guard = *handle;
  auto pids = fmt::format("{} {}\n", *pid, start_ticks(*pid));
  const auto note_pids = [&] {
    if (auto status = write_atomically(pid_file(config_.dirs.run, spec.guest, spec.side), pids); !status)
      spdlog::warn("{}: {}", spec.guest, status.error().text());
  };
  note_pids();

  const auto until = steady_clock::now() + guard_start_limit;
  for (;;) {
    const auto guard = guest->guard;
    if (!guard || !guard->exists())
      co_return fail(Errc::internal, fmt::format("the guard of {} ended at its start", spec.guest),
                     spec.log_file.empty() ? "see: journalctl -u remusd"
                                           : fmt::format("see {}", spec.log_file.string()));
    auto status = co_await guard->refresh();
    if (status) {
      // The keeper may be killed while the guard lives on: both are noted.
      const auto inner = static_cast<pid_t>(status->pid);
      if (inner != 0 && inner != *pid) pids += fmt::format("{} {}\n", inner, start_ticks(inner));
      break;
    }
    if (steady_clock::now() > until)
      co_return fail(Errc::timeout,
                     fmt::format("the guard of {} does not answer: {}", spec.guest, status.error().what));
    co_await sleep_for(milliseconds{20});
  }
  note_pids();
  if (guest->guard) guest->guard->run();
  co_return Status{};
}

Task<Result<nlohmann::json>> Host::ask_until_ready(GuestPtr guest, std::string target, Milliseconds limit) {
  const auto until = steady_clock::now() + limit;
  for (;;) {
    const auto guard = guest->guard;
    if (!guard || !guard->exists()) {
      const auto status = guard ? guard->status() : std::nullopt;
      if (status && status->last_error) co_return std::unexpected(*status->last_error);
      co_return fail(Errc::internal, fmt::format("the guard of {} has ended", guest->registration.guest),
                     "see its log");
    }
    auto answer = co_await guard->call("GET", target, nullptr, milliseconds{5000});
    if (!answer && answer.error().kind != Errc::closed && answer.error().kind != Errc::unreachable)
      co_return answer;
    // "unreachable" may also be the guard's own verdict, on the guest's monitor.
    if (const auto status = guard->status();
        status && status->phase == guard::Phase::refused && status->last_error)
      co_return std::unexpected(*status->last_error);
    const bool starting = !answer || (answer->is_object() && answer->contains("phase"));
    if (!starting) co_return answer;
    if (steady_clock::now() > until)
      co_return fail(Errc::timeout, fmt::format("the guard of {} is not ready after {}",
                                                guest->registration.guest, rough_duration(limit)));
    co_await sleep_for(milliseconds{30});
  }
}

/// Asks the guard to end by POST `target` and sees to it that it does. A guard that will not is killed: its
/// keeper leaves the guest running.
Task<void> Host::end_guard(GuestPtr guest, std::string target) {
  const auto guard = guest->guard;
  if (!guard) co_return;
  if (guard->exists()) {
    auto answer = co_await guard->call("POST", target, nlohmann::json::object(), guard_goodbye_limit);
    if (!answer && guard->exists())
      spdlog::warn("{}: its guard did not take {}: {}", guest->registration.guest, target,
                   answer.error().text());
    // Its last words: it stays for a moment after it has answered.
    auto last_words = co_await guard->refresh();
    if (!last_words && guard->exists())
      spdlog::debug("{}: {}", guest->registration.guest, last_words.error().text());
    const bool ended = co_await guard->wait_for_exit(guard_end_limit);
    if (!ended) {
      spdlog::warn("{}: its guard has not ended, killing it", guest->registration.guest);
      guard->kill();
      if (!co_await guard->wait_for_exit(guard_goodbye_limit))
        spdlog::error("{}: its guard cannot be killed", guest->registration.guest);
    }
  }
  forget_guard(*guest);
}

void Host::forget_guard(Guest& guest) {
  if (guest.guard) guest.guard->close();
  guest.guard.reset();
}

void Host::guard_ended(const std::string& name, const std::string& how) {
  const auto found = guests_.find(name);
  if (found == guests_.end()) return;
  Guest& guest = *found->second;
  const bool asked = !guest.doing->empty();
  const auto status = guest.guard ? guest.guard->status() : std::nullopt;
  const bool in_order =
      status && (status->phase == guard::Phase::ended || status->phase == guard::Phase::refused);
  if (!asked && !in_order) {
    events_.add(name, "error", fmt::format("its guard ended unexpectedly: {}", how));
    guest.last_error = Error{Errc::internal, fmt::format("its guard ended unexpectedly: {}", how), {}};
  }
  guest.next_try = steady_clock::now();  // tend() acts at once, then ever more slowly
}

void Host::watch_guest(Guest& guest, std::uint32_t pid, std::uint64_t ticks) {
  if (pid == 0) return;
  if (guest.process && guest.process->pid() == static_cast<pid_t>(pid)) return;
  const std::string name = guest.registration.guest;
  auto watch = ProcessWatch::open(io_, static_cast<pid_t>(pid), ticks, [this, name] {
    events_.add(name, "guest", "the guest's process has ended");
  });
  if (!watch) return;
  guest.process = std::move(*watch);
  guest.registration.guest_pid = pid;
  guest.registration.guest_start_ticks = start_ticks(static_cast<pid_t>(pid));
}

void Host::watch_domain(Guest& guest, std::uint32_t domid, const std::string& uuid) {
  if (domid == 0) return;
  if (guest.domain && guest.domain->domid() == domid && guest.domain->alive()) return;
  auto watch = DomainWatch::open(domid, uuid);
  if (!watch) return;
  guest.domain = std::move(*watch);
  guest.registration.guest_domid = domid;
  guest.registration.guest_uuid = guest.domain->uuid();
}

void Host::heard_from_guard(const std::string& name, const guard::GuardStatus& status) {
  const auto found = guests_.find(name);
  if (found == guests_.end()) return;
  Guest& guest = *found->second;
  if (status.side == guard::Side::primary) {
    watch_guest(guest, status.guest_pid.value_or(0), 0);
    watch_domain(guest, static_cast<std::uint32_t>(number_at(status.handle, "domid")), {});
  }
  if (status.generation > guest.registration.generation) guest.registration.generation = status.generation;
  if (status.state == "protected" || status.state == "standby") succeeded(guest);
  auto& r = guest.registration;
  if (r.role == Role::backup && guest.registered && status.handle.is_object() && status.handle != r.handle) {
    // Kept for the case that the guard activates the guest and dies before it can say so.
    r.handle = status.handle;
    if (auto saved = registry_.save(r); !saved) spdlog::warn("{}: {}", name, saved.error().text());
  }
  if (status.state == "active" && r.role == Role::backup)
    become_owner(guest, status.handle, status.generation);
}

}  // namespace remus::daemon
