#include "guard/primary_guard.hpp"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <random>
#include <utility>

#include "arbiter/fail_stop.hpp"
#include "arbiter/manual.hpp"
#include "base/fault.hpp"
#include "guard/disk_places.hpp"
#include "guard/engine_clock.hpp"

namespace remus::guard {

using engine::primary_action::AbandonSession;
using engine::primary_action::BeginSession;
using engine::primary_action::Capture;
using engine::primary_action::ClaimAlone;
using engine::primary_action::DropLink;
using engine::primary_action::End;
using engine::primary_action::Fence;
using engine::primary_action::GoAlone;
using engine::primary_action::PassOutput;
using engine::primary_action::Release;
using engine::primary_action::Resend;
using engine::primary_action::SendHeartbeat;
using engine::primary_action::SplitBrain;
using engine::primary_action::StateChanged;
using engine::primary_action::StopGuest;
using engine::primary_action::Synchronize;

namespace {

/// Its end is told by whoever watches it; this is for the case that he is hung.
constexpr std::chrono::milliseconds guest_look_interval{250};
constexpr std::chrono::milliseconds farewell{
    300};  ///< for answers and goodbyes to leave before the process ends

std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

link::GoodbyeReason wire_reason(engine::Goodbye goodbye) {
  switch (goodbye) {
    case engine::Goodbye::unprotected: return link::GoodbyeReason::unprotected;
    case engine::Goodbye::guest_stopped: return link::GoodbyeReason::guest_gone;
    case engine::Goodbye::guest_crashed: return link::GoodbyeReason::guest_crashed;
  }
  return link::GoodbyeReason::unprotected;
}

}  // namespace

PrimaryGuard::PrimaryGuard(boost::asio::io_context& io, GuardSpec spec, pid_t keeper)
    : io_{io},
      spec_{std::move(spec)},
      keeper_{keeper},
      started_{engine_now()},
      events_{spec_.guest, Side::primary},
      timer_{io},
      end_timer_{io},
      guest_timer_{io},
      link_since_{engine_now()} {}

PrimaryGuard::~PrimaryGuard() {
  connector_.reset();
  connection_.reset();
  setup_.reset();
  pipeline_.reset();  // joins the capture thread, which uses output and domain
}

// --- life ---

Status PrimaryGuard::start() {
  // Without an identity nothing can be protected, but what a predecessor left in the guest is taken out all
  // the same.
  if (auto pki = link::Pki::open(spec_.dirs.pki)) {
    pki_ = std::move(*pki);
    peer_host_ = std::make_unique<HostWatch>(io_, spec_, pki_);
  } else {
    no_identity_ = pki.error();
  }
  auto file = StateFile::open(state_file(spec_.dirs.state, spec_.guest));
  if (!file) return std::unexpected(file.error());
  state_file_ = std::move(*file);
  control_ = std::make_unique<http::Server>(
      io_,
      [this](const http::Request& request, const http::Responder& responder) { serve(request, responder); });
  if (auto listening =
          control_->listen_unix(control_socket(spec_.dirs.run, spec_.guest, Side::primary), 0600);
      !listening)
    return listening;
  inspect();
  return {};
}

void PrimaryGuard::inspect() {
  setup_ = std::make_unique<Worker>("remus-setup");
  setup_->post([this] {
    Result<ProtectedGuest> guest = fail(Errc::internal, "not attached");
    if (spec_.rescue_first || spec_.superseded_by != 0) {
      if (const Status rescued = rescue_guest(spec_); !rescued) guest = std::unexpected(rescued.error());
    }
    if (no_identity_ && spec_.superseded_by == 0)
      guest = std::unexpected(*no_identity_);
    else if (auto attached = attach_guest(spec_); attached || guest.error().kind == Errc::internal)
      guest = std::move(attached);
    const auto shared = std::make_shared<Result<ProtectedGuest>>(std::move(guest));
    boost::asio::post(io_, [this, shared] { inspected(std::move(*shared)); });
  });
}

void PrimaryGuard::inspected(Result<ProtectedGuest> guest) {
  if (!guest) {
    phase_ = Phase::refused;
    last_error_ = guest.error().in(fmt::format("guest '{}' cannot be protected", spec_.guest));
    reason_ = last_error_->what;
    events_.error(*last_error_);
    end_timer_.expires_after(std::chrono::seconds{60});
    end_timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) leave();
    });
    return;
  }
  guest_ = std::move(*guest);
  phase_ = Phase::described;
  watch_guest();
  if (spec_.superseded_by != 0) {
    act(Fence{spec_.superseded_by});
    return;
  }
  if (!spec_.peer_links.empty()) run(spec_.peer_links);
}

void PrimaryGuard::run(std::vector<Endpoint> links) {
  links_ = std::move(links);
  if (engine_) {  // other addresses for the next attempt
    if (!connection_) connect();
    return;
  }
  const StateRecord before = state_file_->record();
  const engine::Generation generation =
      std::max<engine::Generation>({1, spec_.generation, before.generation});
  const auto began = spec_.rescue_first                 ? engine::PrimaryStart::rescued
                     : before.role == HostRole::primary ? engine::PrimaryStart::activated
                                                        : engine::PrimaryStart::fresh;
  if (const Status kept =
          record({.generation = generation, .role = HostRole::primary, .alone = before.alone});
      !kept) {
    inspected(std::unexpected(kept.error()));
    return;
  }
  auto disks = open_disks();
  if (!disks) {
    inspected(std::unexpected(disks.error()));
    return;
  }
  // Before the engine can ask for it, and while nothing depends on it: the guest's packets take the way
  // through us.
  if (const Status attached = guest_.output->attach(); !attached) {
    inspected(std::unexpected(attached.error()));
    return;
  }
  guest_.output->on_waiting([this] {
    boost::asio::post(io_, [this] {
      engine_->output_waiting(engine_now());
      after_event();
    });
  });
  if (spec_.options.arbiter == ArbiterKind::manual)
    arbiter_ =
        std::make_unique<arbiter::Manual>([this](auto job) { boost::asio::post(io_, std::move(job)); });
  else
    arbiter_ =
        std::make_unique<arbiter::FailStop>([this](auto job) { boost::asio::post(io_, std::move(job)); });

  engine_ =
      std::make_unique<engine::Primary>(engine::Primary::Setup{.config = spec_.options.engine,
                                                               .generation = generation,
                                                               .seed = random_seed(),
                                                               .arbiter_exclusive = arbiter_->exclusive(),
                                                               .start = began},
                                        engine_now());
  pipeline_ = std::make_unique<Pipeline>(io_, *guest_.domain, *guest_.output, std::move(*disks),
                                         spec_.options, pipeline_events());
  phase_ = Phase::running;
  if (doomed_) engine_->guest_doomed(engine_now());
  connect();
  after_event();
}

Result<std::unique_ptr<PrimaryDisks>> PrimaryGuard::open_disks() {
  if (!guest_.disks) return nullptr;
  // Should this host be the backup one day, its images are known to be this guest's.
  DiskPlaces places;
  for (const auto& disk : guest_.disks->list()) places[disk.name] = disk.image;
  if (const Status kept = keep_places(spec_, places); !kept) return std::unexpected(kept.error());
  const auto encoder = encoder_settings(spec_.options);
  return PrimaryDisks::create(std::move(guest_.disks),
                              {.spill_dir = spec_.dirs.state,
                               .map_dir = spec_.dirs.run,
                               .compression = encoder.compression,
                               .link_bytes_per_s = encoder.link_bytes_per_s,
                               .copy_bytes_per_s = spec_.options.copy_rate_bytes_per_s});
}

void PrimaryGuard::watch_guest() {
  if (guest_.pid <= 0 && guest_.exists) {
    if (guest_.on_signs_of_end)
      guest_.on_signs_of_end([this] { boost::asio::post(io_, [this] { look_for_guest(); }); });
    look_for_guest();
  }
  if (guest_.pid <= 0) return;
  const auto fd = static_cast<int>(::syscall(SYS_pidfd_open, guest_.pid, 0));
  if (fd < 0) {
    boost::asio::post(io_, [this] { guest_gone(); });
    return;
  }
  guest_process_.emplace(io_, fd);
  guest_process_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                             [this](const boost::system::error_code& error) {
                               if (!error) guest_gone();
                             });
}

void PrimaryGuard::look_for_guest() {
  if (guest_missed_) return;
  if (!guest_.exists()) {
    guest_missed_ = true;
    guest_timer_.cancel();
    guest_gone();
    return;
  }
  if (!doomed_ && !fencing_ && guest_.doom)
    if (const std::string why = guest_.doom(); !why.empty()) guest_doomed(why);
  guest_timer_.expires_after(guest_look_interval);
  guest_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) look_for_guest();
  });
}

void PrimaryGuard::guest_gone() {
  if (ending_) return;
  if (fencing_) {
    finish_fencing();
    return;
  }
  const bool orderly = guest_.shut_down_in_order();
  events_.add("state", orderly ? "the guest was shut down" : "the guest is gone");
  if (!engine_) {
    inspected(fail(Errc::not_found, "the guest is gone"));
    return;
  }
  engine_->guest_gone(engine_now(), orderly);
  after_event();
}

void PrimaryGuard::guest_doomed(const std::string& why) {
  doomed_ = true;
  last_error_ =
      Error{Errc::closed, fmt::format("guest '{}' cannot go on here: {}", spec_.guest, why),
            fmt::format("where it is protected it goes on at host '{}'; otherwise stop it, and start "
                        "it again",
                        spec_.peer)};
  reason_ = last_error_->what;
  events_.error(*last_error_);
  if (!engine_) return;
  engine_->guest_doomed(engine_now());
  after_event();
}

/// Whether a failure of the pipeline is the guest's end, which whoever watches the guest tells, with the reason.
bool PrimaryGuard::guest_is_lost() {
  if (guest_.exists) look_for_guest();
  return !guest_.domain->alive();
}

void PrimaryGuard::terminate() {
  if (!engine_) {
    leave();
    return;
  }
  engine_->unprotect(engine_now());
  after_event();
}

void PrimaryGuard::end(std::string reason) {
  if (ending_) return;
  ending_ = true;
  reason_ = std::move(reason);
  timer_.cancel();
  if (connector_) connector_->stop();
  static_cast<void>(guest_.output->detach());
  static_cast<void>(record({.generation = engine_->generation(), .role = HostRole::none}));
  phase_ = Phase::ended;
  if (unprotect_) unprotect_->reply({200, "{}"});
  unprotect_.reset();
  if (connection_) connection_->close_after_flush(farewell, Error{Errc::closed, reason_, {}});
  end_timer_.expires_after(farewell);
  end_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) leave();
  });
}

void PrimaryGuard::leave() {
  phase_ = Phase::ended;
  io_.stop();
}

Status PrimaryGuard::record(StateRecord wanted) {
  wanted.generation = std::max(wanted.generation, state_file_->record().generation);
  if (wanted == state_file_->record()) return {};
  Status kept = state_file_->write(wanted);
  if (!kept) events_.error(kept.error());
  return kept;
}

// --- engine ---

void PrimaryGuard::after_event() {
  if (!engine_ || ending_) return;
  for (auto actions = engine_->take_actions(); !actions.empty(); actions = engine_->take_actions())
    for (const auto& action : actions) std::visit([this](const auto& a) { act(a); }, action);
  if (!ending_) arm_timer();
}

void PrimaryGuard::arm_timer() {
  timer_.expires_at(to_steady(engine_->next_deadline()));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error || ending_) return;
    engine_->tick(engine_now());
    after_event();
  });
}

void PrimaryGuard::act(const BeginSession& action) {
  raw_bytes_ = 0;
  wire_base_bytes_ = sender_.sent_payload_bytes();
  send(link::SessionBegin{.session = action.session, .generation = action.generation});
}

void PrimaryGuard::act(const Synchronize& action) {
  sync_began_ = engine_now();
  sync_ = hypervisor::SyncProgress{};
  events_.add("sync", "synchronizing the backup");
  pipeline_->synchronize(action.session);
}

void PrimaryGuard::act(const Capture& action) {
  pipeline_->capture(action.session, action.epoch);
}

void PrimaryGuard::act(const Resend& action) {
  sender_.resend(action.after);
}

void PrimaryGuard::act(const Release& action) {
  REMUS_FAULT_POINT("release.before");
  guest_.output->release(action.upto);
  sender_.forget(action.upto);
  pipeline_->release(action.upto);
  REMUS_FAULT_POINT("release.after");
}

void PrimaryGuard::act(const SendHeartbeat& action) {
  send(link::HeartbeatMsg{action.heartbeat});
}

void PrimaryGuard::act(const ClaimAlone& action) {
  // Fail-stop and manual arbiters know nothing of the other host; its daemon may.
  peer_host_->ask_once(
      std::chrono::milliseconds{400}, [this, generation = action.generation](const auto& reports) {
        if (ending_) return;
        for (const auto& report : reports)
          if (report.guest_running && report.generation >= generation) {
            engine_->backup_is_active(engine_now(), report.generation);
            after_event();
          }
        arbiter_->claim({spec_.guest, spec_.host, generation, arbiter::Purpose::go_alone},
                        [this, generation](arbiter::Verdict verdict) {
                          if (ending_) return;
                          engine_->verdict(engine_now(), generation, static_cast<engine::Verdict>(verdict));
                          after_event();
                        });
      });
}

void PrimaryGuard::act(const GoAlone& action) {
  static_cast<void>(record({.generation = action.generation, .role = HostRole::primary, .alone = true}));
  pipeline_->abandon();
  sender_.clear();
  guest_.output->pass();
}

void PrimaryGuard::act(const AbandonSession& action) {
  events_.add("sync", fmt::format("session given up: {}", action.reason));
  pipeline_->abandon();
  sender_.clear();
}

void PrimaryGuard::act(const PassOutput& /*action*/) {
  // A witness must be able to tell that output goes out which no backup holds.
  static_cast<void>(record({.generation = engine_->generation(), .role = HostRole::primary, .alone = true}));
  guest_.output->pass();
}

void PrimaryGuard::act(const Fence& action) {
  if (fencing_) return;
  fencing_ = true;
  events_.add(
      "error",
      fmt::format("another host runs this guest as generation {}: this copy is superseded and is stopped",
                  action.superseded_by),
      {{"superseded_by", action.superseded_by}});
  auto record_now = state_file_->record();
  record_now.superseded_by = action.superseded_by;
  static_cast<void>(record(record_now));
  if (engine_) {
    guest_.output->discard();
    sender_.clear();
    pipeline_->abandon();
  }
  setup_->post([this] {
    const Status stopped = guest_.terminate();
    boost::asio::post(io_, [this, stopped] {
      if (!stopped) events_.error(stopped.error().in("stopping the superseded guest"));
    });
  });
}

void PrimaryGuard::finish_fencing() {
  events_.add("state", "the superseded guest has been stopped");
  ending_ = true;
  phase_ = Phase::ended;
  reason_ = "superseded by another host";
  end_timer_.expires_after(farewell);
  end_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) leave();
  });
}

void PrimaryGuard::act(const StopGuest& /*action*/) {
  events_.add("state", fmt::format("the guest is stopped here, to go on at host '{}' from epoch {} or later",
                                   spec_.peer, engine_->committed().value_or(0)));
  setup_->post([this] {
    const Status stopped = guest_.terminate();
    boost::asio::post(io_, [this, stopped] {
      if (!stopped) events_.error(stopped.error().in("stopping a guest that is to go on elsewhere"));
      if (!ending_) look_for_guest();
    });
  });
}

void PrimaryGuard::act(const SplitBrain& action) {
  last_error_ = Error{Errc::internal,
                      fmt::format("SPLIT BRAIN: host '{}' also runs guest '{}' as generation {}", spec_.peer,
                                  spec_.guest, action.generation),
                      "decide which copy is the true one and shut the other down; then protect again"};
  events_.error(*last_error_);
}

void PrimaryGuard::act(const DropLink& action) {
  spdlog::warn("link dropped: {}", action.reason);
  sender_.detach();
  connection_.reset();
  set_link_state("connecting");
  if (connector_) connector_->start();
}

void PrimaryGuard::act(const End& action) {
  if (connection_)
    send(link::Goodbye{.reason = wire_reason(action.goodbye),
                       .session = engine_->session(),
                       .generation = engine_->generation(),
                       .epoch = engine_->committed().value_or(0),
                       .text = action.reason});
  if (action.goodbye == engine::Goodbye::unprotected) {
    // The guest must be free of us before we say so: detached() goes on to end().
    reason_ = action.reason;
    guest_.output->pass();
    pipeline_->abandon(true);
    sender_.clear();
    return;
  }
  guest_.output->discard();
  end(action.reason);
}

void PrimaryGuard::act(const StateChanged& action) {
  reason_ = action.reason;
  if (action.to == engine::PrimaryState::protected_) {
    if (!doomed_) last_error_.reset();
    sync_.reset();
  } else if (verify_ && action.from == engine::PrimaryState::protected_) {
    std::exchange(verify_, std::nullopt)
        ->responder.fail({Errc::closed, fmt::format("the verification was broken off: {}", action.reason),
                          "verify again when `remus status` says protected"});
    pipeline_->verifier().forget();
  }
  events_.state(engine::to_string(action.from), engine::to_string(action.to), action.reason);
}

}  // namespace remus::guard
