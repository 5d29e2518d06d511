#include "guard/backup_guard.hpp"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <utility>

#include "arbiter/fail_stop.hpp"
#include "base/fault.hpp"
#include "guard/engine_clock.hpp"
#include "guard/hypervisors.hpp"

namespace remus::guard {

using engine::backup_action::Activate;
using engine::backup_action::Apply;
using engine::backup_action::ClaimActivation;
using engine::backup_action::DiscardStandby;
using engine::backup_action::DiscardTorn;
using engine::backup_action::DropLink;
using engine::backup_action::SendAck;
using engine::backup_action::SendHeartbeat;
using engine::backup_action::StateChanged;

namespace {
constexpr std::chrono::milliseconds farewell{300};
constexpr std::chrono::seconds health_interval{1};
}  // namespace

BackupGuard::BackupGuard(boost::asio::io_context& io, GuardSpec spec)
    : io_{io},
      spec_{std::move(spec)},
      started_{engine_now()},
      events_{spec_.guest, Side::backup},
      timer_{io},
      health_timer_{io},
      end_timer_{io},
      link_since_{engine_now()},
      heard_{engine_now()} {}

BackupGuard::~BackupGuard() {
  connection_.reset();
  leaving_.reset();
  listener_.reset();
  replica_.reset();
}

// --- life ---

Status BackupGuard::start() {
  auto file = StateFile::open(state_file(spec_.dirs.state, spec_.guest));
  if (!file) return std::unexpected(file.error());
  state_file_ = std::move(*file);
  control_ = std::make_unique<http::Server>(
      io_,
      [this](const http::Request& request, const http::Responder& responder) { serve(request, responder); });
  if (auto listening = control_->listen_unix(control_socket(spec_.dirs.run, spec_.guest, Side::backup), 0600);
      !listening)
    return listening;

  auto pki = link::Pki::open(spec_.dirs.pki);
  if (!pki) {
    refuse_service(pki.error());
    return {};
  }
  pki_ = std::move(*pki);
  if (spec_.description) description_ = *spec_.description;
  const StateRecord before = state_file_->record();
  auto disks =
      open_backup_disks(spec_, description_, before.role == HostRole::primary ? before.generation : 0);
  if (!disks) {
    refuse_service(disks.error());
    return {};
  }
  if (!disks->found.empty()) events_.add("disk", disks->found);
  auto standby = make_standby(spec_, disks->places);
  if (!standby) {
    refuse_service(standby.error());
    return {};
  }
  if (const Status room = check_room(); !room) {
    refuse_service(room.error());
    return {};
  }
  // What this host lacks is to be known before the primary's guest is touched, so the standby is not built on
  // demand.
  replica_ = std::make_unique<Replica>(io_, std::move(*standby), std::move(*disks), replica_events());
  replica_->build(description_);
  return {};
}

void BackupGuard::built(const Status& done) {
  if (ending_) return;
  if (!done) return refuse_service(done.error());
  if (const Status heard = listen(); !heard) return refuse_service(heard.error());

  const StateRecord before = state_file_->record();
  const auto post = [this](auto job) { boost::asio::post(io_, std::move(job)); };
  if (spec_.options.arbiter == ArbiterKind::manual) {
    auto manual = std::make_unique<arbiter::Manual>(post);
    manual_ = manual.get();
    arbiter_ = std::move(manual);
  } else {
    arbiter_ = std::make_unique<arbiter::FailStop>(post);
  }
  static_cast<void>(
      record({.generation = std::max(before.generation, spec_.generation), .role = HostRole::backup}));
  engine_ =
      std::make_unique<engine::Backup>(engine::Backup::Setup{.config = spec_.options.engine,
                                                             .generation = state_file_->record().generation,
                                                             .arbiter_exclusive = arbiter_->exclusive()},
                                       engine_now());
  peer_host_ = std::make_unique<HostWatch>(io_, spec_, pki_);
  peer_host_->start(report_interval(spec_.options.engine.detect_min),
                    [this](const engine::HostReport& report) {
                      if (ending_ || !engine_) return;
                      if (report.guest_running) heard_ = engine_now();
                      engine_->host_report(engine_now(), report);
                      after_event();
                    });
  phase_ = Phase::running;
  watch_health();
  after_event();
}

void BackupGuard::refuse_service(const Error& error) {
  phase_ = Phase::refused;
  last_error_ = error.in(fmt::format("no standby for guest '{}' on host '{}'", spec_.guest, spec_.host));
  reason_ = last_error_->what;
  events_.error(*last_error_);
  end_timer_.expires_after(std::chrono::seconds{60});
  end_timer_.async_wait([this](const boost::system::error_code& aborted) {
    if (!aborted) io_.stop();
  });
}

Status BackupGuard::check_room() const {
  if (spec_.hypervisor == "xen") return {};  // its memory is the hypervisor's: build() asks for it
  std::error_code error;
  std::filesystem::create_directories(spec_.dirs.image, error);
  struct statvfs fs {};
  if (::statvfs(spec_.dirs.image.c_str(), &fs) != 0)
    return fail_errno(errno, fmt::format("image directory {}", spec_.dirs.image.string()));
  const std::uint64_t available = std::uint64_t{fs.f_bavail} * fs.f_frsize;
  // A standby of this guest that is there already holds its image: its room counts as available.
  std::uint64_t own = 0;
  for (const auto& entry : std::filesystem::directory_iterator{spec_.dirs.image / spec_.guest, error})
    if (std::error_code ignored; entry.is_regular_file(ignored)) own += entry.file_size(ignored);
  if (available + own >= description_.memory_bytes) return {};
  return fail(Errc::exhausted,
              fmt::format("{} has {} MiB free, the guest's image needs {} MiB", spec_.dirs.image.string(),
                          (available + own) >> 20, description_.memory_bytes >> 20),
              "free memory on that host, or enlarge the file system (mount -o remount,size=...)");
}

Status BackupGuard::listen() {
  const std::string address = spec_.listen.addresses.empty() ? "0.0.0.0" : spec_.listen.addresses.front();
  Error last{Errc::exhausted, "no port to listen on", {}};
  for (unsigned port = spec_.listen.port_first; port <= spec_.listen.port_last; ++port) {
    auto listener = link::Listener::open(
        io_, pki_,
        {.address = {address, static_cast<std::uint16_t>(port)},
         .expected_host = spec_.peer,
         .connection = {.receive_window_bytes = 64U << 20, .consume_on_return = false}},
        {.on_incoming = [this](link::Incoming one) { incoming(std::move(one)); },
         .on_rejected =
             [this](const std::string& remote, const Error& error) {
               if (const auto line = rejections_.note(remote, error, std::chrono::steady_clock::now()))
                 spdlog::warn("{}", *line);
             }});
    if (listener) {
      listener_ = std::move(*listener);
      return {};
    }
    last = listener.error();
  }
  return std::unexpected(
      last.in(fmt::format("ports {} to {}", spec_.listen.port_first, spec_.listen.port_last)));
}

void BackupGuard::terminate() {
  if (!engine_ || engine_->state() == engine::BackupState::active) {
    io_.stop();
    return;
  }
  engine_->unprotect(engine_now());
  after_event();
}

void BackupGuard::leave_soon() {
  if (ending_) return;
  ending_ = true;
  phase_ = Phase::ended;
  timer_.cancel();
  health_timer_.cancel();
  end_timer_.expires_after(farewell);
  end_timer_.async_wait([this](const boost::system::error_code& aborted) {
    if (!aborted) io_.stop();
  });
}

Status BackupGuard::record(StateRecord wanted) {
  wanted.generation = std::max(wanted.generation, state_file_->record().generation);
  if (wanted == state_file_->record()) return {};
  Status kept = state_file_->write(wanted);
  if (!kept) events_.error(kept.error());
  return kept;
}

void BackupGuard::watch_health() {
  health_timer_.expires_after(health_interval);
  health_timer_.async_wait([this](const boost::system::error_code& aborted) {
    if (aborted || ending_) return;
    if (engine_->state() == engine::BackupState::standby ||
        engine_->state() == engine::BackupState::synchronizing)
      replica_->check_health();
    watch_health();
  });
}

// --- engine ---

void BackupGuard::after_event() {
  if (!engine_ || ending_) return;
  for (auto actions = engine_->take_actions(); !actions.empty(); actions = engine_->take_actions())
    for (const auto& action : actions) std::visit([this](const auto& a) { act(a); }, action);
  if (!ending_) arm_timer();
}

void BackupGuard::arm_timer() {
  timer_.expires_at(to_steady(engine_->next_deadline()));
  timer_.async_wait([this](const boost::system::error_code& aborted) {
    if (aborted || ending_) return;
    engine_->tick(engine_now());
    after_event();
  });
}

void BackupGuard::act(const SendAck& action) {
  send(link::Ack{.session = action.session, .epoch = action.epoch, .survives = replica_->survives()});
  REMUS_FAULT_POINT("ack.sent");
}

void BackupGuard::act(const SendHeartbeat& action) {
  send(link::HeartbeatMsg{action.heartbeat});
}

void BackupGuard::act(const Apply& action) {
  replica_->apply(action.session, action.epoch);
}

void BackupGuard::act(const DiscardTorn& /*action*/) {
  replica_->discard_torn();
}

void BackupGuard::act(const ClaimActivation& action) {
  arbiter_->claim({spec_.guest, spec_.host, action.generation, arbiter::Purpose::activate},
                  [this, generation = action.generation](arbiter::Verdict verdict) {
                    if (ending_) return;
                    engine_->verdict(engine_now(), generation, static_cast<engine::Verdict>(verdict));
                    after_event();
                  });
}

void BackupGuard::act(const Activate& action) {
  decided_at_ = engine_now();
  REMUS_FAULT_POINT("activate.record");
  if (const Status kept = record({.generation = action.generation, .role = HostRole::primary}); !kept) {
    // Without the record a later guard would not know that this host speaks for the guest.
    engine_->activation_failed(engine_now(), kept.error().what);
    return;
  }
  failover_ = GuardStatus::Failover{
      .detected_ms = static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::milliseconds>(decided_at_ - heard_).count()),
      .activation_ms = 0,
      .epoch = action.epoch,
      .time = utc_now()};
  replica_->activate(action.epoch);
}

void BackupGuard::act(const DiscardStandby& action) {
  spdlog::info("standby discarded: {}", action.reason);
  replica_->discard();
}

void BackupGuard::act(const DropLink& action) {
  spdlog::warn("link dropped: {}", action.reason);
  connection_.reset();
  set_link_state("down");
}

void BackupGuard::act(const StateChanged& action) {
  reason_ = action.reason;
  if (action.to == engine::BackupState::standby) last_error_.reset();
  events_.state(engine::to_string(action.from), engine::to_string(action.to), action.reason);
  if (action.to == engine::BackupState::ended) static_cast<void>(record({.role = HostRole::none}));
}

void BackupGuard::activated(const hypervisor::ActivationReport& report) {
  failover_->activation_ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(engine_now() - decided_at_).count());
  engine_->activated(engine_now());
  events_.add(
      "failover",
      fmt::format("the guest runs here from epoch {}: detected after {} ms, activated in {} ms ({} us in the "
                  "hypervisor)",
                  failover_->epoch, failover_->detected_ms, failover_->activation_ms, report.total_us),
      failover_json());
  after_event();
  for (const auto& waiter : std::exchange(failover_waiters_, {})) waiter.reply({200, failover_json().dump()});
}

}  // namespace remus::guard
