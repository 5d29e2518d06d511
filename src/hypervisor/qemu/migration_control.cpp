#include "hypervisor/qemu/migration_control.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <thread>
#include <tuple>

namespace remus::hypervisor::qemu {

using json = nlohmann::json;

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// QEMU needs milliseconds to leave; where vCPUs get little of a busy machine, many seconds. If QEMU itself hangs, QMP's bound is met first.
constexpr auto leave_timeout = milliseconds{20'000};
constexpr auto colo_timeout = milliseconds{5000};
constexpr std::uint64_t first_downtime_ms = 50;

// Parameters we change; all exist since 5.2.
constexpr std::array<const char*, 3> our_parameters{"x-checkpoint-delay", "max-bandwidth", "downtime-limit"};

/// Everything that would change the stream's form is off; harmless ones stay as the user has them.
bool wanted(std::string_view capability, bool now, const Version& version) {
  if (capability == "x-colo") return true;
  if (capability == "return-path") return version.at_least(11);
  if (capability == "events" || capability == "late-block-activate") return now;
  return false;
}

bool one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

Result<std::string> migration_status(Qmp& qmp) {
  auto answer = qmp.execute("query-migrate");
  if (!answer) return std::unexpected(answer.error());
  return answer->is_object() ? answer->value("status", "none") : std::string{"none"};
}

Result<std::string> run_state(Qmp& qmp) {
  auto answer = qmp.execute("query-status");
  if (!answer) return std::unexpected(answer.error());
  return answer->is_object() ? answer->value("status", "") : std::string{};
}

/// Run states that only a migration leaves a guest in; "paused" is its user's wish.
bool stopped_by_migration(std::string_view state) {
  return one_of(state, {"colo", "finish-migrate", "postmigrate"});
}

/// A migration that has ended is put away a little later, when QEMU's main loop comes to it; giving up its yank instance is the last
/// of that. A `migrate` before it is refused and leaves QEMU (7.2 at least) in a migration that nobody carries on: there is no way
/// out of that, and no other can ever be started.
Result<bool> is_put_away(Qmp& qmp) {
  const auto instances = qmp.execute("query-yank");
  if (!instances && instances.error().kind == Errc::not_found) return true;  // before 6.0 there are none
  if (!instances) return std::unexpected(instances.error());
  return std::ranges::none_of(*instances,
                              [](const json& entry) { return entry.value("type", "") == "migration"; });
}

Status await_put_away(Qmp& qmp) {
  const auto deadline = Clock::now() + leave_timeout;
  for (milliseconds wait{1};; wait = std::min(wait * 2, milliseconds{20})) {
    const auto put_away = is_put_away(qmp);
    if (!put_away) return std::unexpected(put_away.error());
    if (*put_away) return {};
    if (Clock::now() >= deadline)
      return fail(Errc::timeout, "QEMU has not put away the migration before this one");
    std::this_thread::sleep_for(wait);
  }
}

/// QEMU resumes the guest by itself when COLO ends, however long its vCPUs take to stand first. `cont` is no help to it: the run
/// state says 'colo' before they stand, and a `cont` in that moment sets them going again under the thread that waits for them.
/// That thread then waits for ever, and no migration can be started any more. So it is sent only where nobody else resumes: after
/// an ordinary migration, and when the migration is put away.
Status make_run(Qmp& qmp) {
  const auto deadline = Clock::now() + leave_timeout;
  for (milliseconds wait{1};; wait = std::min(wait * 2, milliseconds{50})) {
    auto state = run_state(qmp);
    if (!state) return std::unexpected(state.error());
    if (!stopped_by_migration(*state)) return {};
    const auto put_away = is_put_away(qmp);
    if (!put_away) return std::unexpected(put_away.error());
    if (*state == "postmigrate" || *put_away) std::ignore = qmp.execute("cont");
    if (Clock::now() >= deadline)
      return fail(Errc::timeout,
                  fmt::format("the guest stays '{}' after its checkpointing has ended", *state),
                  "resume it by hand: QMP command cont");
    std::this_thread::sleep_for(wait);
  }
}

}  // namespace

Status MigrationControl::prepare() {
  auto capabilities = qmp_.execute("query-migrate-capabilities");
  if (!capabilities) return std::unexpected(capabilities.error());
  auto current = qmp_.execute("query-migrate-parameters");
  if (!current) return std::unexpected(current.error());
  json change = json::array();
  json before = json::array();
  for (const json& entry : *capabilities) {
    const auto name = entry.value("capability", "");
    const bool now = entry.value("state", false);
    const bool want = wanted(name, now, qmp_.version());
    if (now == want) continue;
    change.push_back({{"capability", name}, {"state", want}});
    before.push_back({{"capability", name}, {"state", now}});
  }
  if (saved_capabilities_.is_null()) {
    saved_capabilities_ = std::move(before);
    saved_parameters_ = json::object();
    for (const char* name : our_parameters)
      if (const auto value = current->find(name); value != current->end()) saved_parameters_[name] = *value;
  }
  if (!change.empty()) {
    if (auto set = qmp_.execute("migrate-set-capabilities", {{"capabilities", std::move(change)}}); !set)
      return fail(Errc::unsupported, fmt::format("QEMU {} does not offer checkpoints: {}",
                                                 qmp_.version().text(), set.error().what));
  }
  auto set = qmp_.execute("migrate-set-parameters", {{"x-checkpoint-delay", our_checkpoint_delay_ms},
                                                     {"max-bandwidth", our_bandwidth_bytes},
                                                     {"downtime-limit", first_downtime_ms}});
  if (!set) return std::unexpected(set.error());
  return {};
}

Status MigrationControl::start(int fd) {
  if (Status free = await_put_away(qmp_); !free)
    return std::unexpected(free.error().in("starting the synchronization"));
  if (auto given = qmp_.send_fd("remus-colo", fd); !given) return given;
  if (auto begun = qmp_.execute("migrate", {{"uri", "fd:remus-colo"}}); !begun)
    return std::unexpected(begun.error().in("starting the synchronization"));
  return {};
}

Status MigrationControl::set_downtime_limit(std::uint64_t ms) {
  if (auto set = qmp_.execute("migrate-set-parameters", {{"downtime-limit", ms}}); !set)
    return std::unexpected(set.error());
  return {};
}

Result<std::string> MigrationControl::status() {
  return migration_status(qmp_);
}

Status MigrationControl::await_colo() {
  const auto deadline = Clock::now() + colo_timeout;
  for (;;) {
    auto now = status();
    if (!now) return std::unexpected(now.error());
    if (*now == "colo") return {};
    if (*now == "completed")
      return fail(
          Errc::unsupported,
          fmt::format(
              "COLO does not work in this QEMU ({}, {}): it ended the migration instead of staying in it",
              qmp_.version().text(), qmp_.version().package),
          "use another build of QEMU; docs/qemu.md lists those known to work");
    if (one_of(*now, {"failed", "cancelled", "cancelling", "none"}))
      return fail(Errc::io, fmt::format("the synchronization ended as '{}' inside QEMU", *now));
    if (Clock::now() >= deadline)
      return fail(Errc::timeout, fmt::format("QEMU does not begin checkpointing: it stays '{}'", *now));
    std::this_thread::sleep_for(milliseconds{1});
  }
}

Status MigrationControl::leave() {
  if (qmp_.closed()) return fail(Errc::closed, "the guest is gone");
  Status left = leave_migration(qmp_);
  Status restored = restore();
  return left ? restored : left;
}

Status MigrationControl::restore() {
  if (saved_capabilities_.is_null()) return {};
  if (!saved_capabilities_.empty()) {
    auto set = qmp_.execute("migrate-set-capabilities", {{"capabilities", saved_capabilities_}});
    if (!set) return std::unexpected(set.error().in("putting QEMU's migration capabilities back"));
  }
  if (!saved_parameters_.empty()) {
    auto set = qmp_.execute("migrate-set-parameters", saved_parameters_);
    if (!set) return std::unexpected(set.error().in("putting QEMU's migration parameters back"));
  }
  saved_capabilities_ = nullptr;
  saved_parameters_ = nullptr;
  return {};
}

Status leave_migration(Qmp& qmp) {
  const auto deadline = Clock::now() + leave_timeout;
  bool told = false;
  for (milliseconds wait{1};; wait = std::min(wait * 2, milliseconds{20})) {
    auto now = migration_status(qmp);
    if (!now) return std::unexpected(now.error());
    if (one_of(*now, {"none", "completed", "failed", "cancelled"})) break;
    if (!told) {
      // migrate_cancel inside COLO would leave the guest stopped for ever; outside it is the only way.
      auto ended = *now == "colo" ? qmp.execute("x-colo-lost-heartbeat") : qmp.execute("migrate_cancel");
      if (!ended && ended.error().kind == Errc::closed) return std::unexpected(ended.error());
      if (!ended) spdlog::debug("ending the migration ('{}'): {}", *now, ended.error().text());
      told = ended.has_value() && *now == "colo";
    }
    if (Clock::now() >= deadline)
      return fail(Errc::timeout, fmt::format("QEMU does not leave checkpointing: it stays '{}'", *now));
    std::this_thread::sleep_for(wait);
  }
  if (Status runs = make_run(qmp); !runs) return runs;
  return await_put_away(qmp);
}

}  // namespace remus::hypervisor::qemu
