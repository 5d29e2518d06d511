// BackupGuard's side towards the primary: who may connect, and what comes.
#include <fmt/format.h>

#include "base/fault.hpp"
#include "base/json.hpp"
#include "guard/backup_guard.hpp"
#include "guard/engine_clock.hpp"

namespace remus::guard {

void BackupGuard::set_link_state(std::string state, std::string address) {
  if (!address.empty()) link_address_ = std::move(address);
  if (state == link_state_) return;
  link_state_ = std::move(state);
  link_since_ = engine_now();
  events_.add("link", fmt::format("link from {} is {}", spec_.peer, link_state_),
              {{"state", link_state_}, {"address", link_address_}});
}

void BackupGuard::incoming(link::Incoming one) {
  const auto& hello = one.hello();
  if (ending_ || !engine_ || engine_->state() == engine::BackupState::ended)
    return std::move(one).refuse({Errc::closed, "this guard is ending", "try again"});
  if (hello.guest != spec_.guest)
    return std::move(one).refuse(
        {Errc::refused,
         fmt::format("this guard keeps a standby of '{}', not of '{}'", spec_.guest, hello.guest),
         "ask the daemon for the right port"});
  auto json = parse_json(hello.description_json);
  auto description = description_from_json(json);
  if (!description)
    return std::move(one).refuse(
        {description.error().kind, description.error().what, description.error().fix});

  const engine::BackupHello mine = engine_->hello();
  const std::string remote = one.remote_address();
  auto connection = std::move(one).welcome(
      {.hypervisor_version = description_.version, .backup = mine, .offers_hashes = true});
  if (!connection) return;
  if (engine_->state() == engine::BackupState::active ||
      engine_->state() == engine::BackupState::activating) {
    // An old primary has come back. It learns that it is superseded, and stops its guest.
    leaving_ = std::move(connection);
    leaving_->start({});
    static_cast<void>(leaving_->send(link::Active{.generation = mine.generation, .epoch = mine.held}));
    leaving_->close_after_flush(std::chrono::milliseconds{500}, Error{Errc::closed, "superseded", {}});
    events_.add("link",
                fmt::format("the old primary at {} was told of generation {}", remote, mine.generation));
    return;
  }
  description_ = std::move(*description);
  if (connection_) {  // it has lost what we have not: the newer one is the true one
    connection_.reset();
    engine_->link_down(engine_now());
    after_event();
  }
  connection_ = std::move(connection);
  set_link_state("up", remote);
  heard_ = engine_now();
  connection_->start(
      {.on_message = [this](link::Message message, std::size_t bulk) { receive(std::move(message), bulk); },
       .on_writable = {},
       .on_closed = [this](const Error& error) { lost(error); }});
  engine_->link_up(engine_now());
  after_event();
}

void BackupGuard::lost(const Error& error) {
  connection_.reset();
  if (ending_) return;
  if (error.kind != Errc::closed) spdlog::warn("link lost: {}", error.text());
  set_link_state("down");
  engine_->link_down(engine_now());
  after_event();
}

void BackupGuard::send(const link::Message& message) {
  if (!connection_) return;
  if (const Status sent = connection_->send(message); !sent) spdlog::debug("send: {}", sent.error().text());
}

void BackupGuard::receive(link::Message message, std::size_t bulk_bytes) {
  const engine::Time now = engine_now();
  heard_ = now;
  engine_->traffic(now);
  if (auto* pages = std::get_if<link::EpochPages>(&message)) {
    replica_->receive(std::move(*pages), bulk_bytes);
  } else if (auto* writes = std::get_if<link::DiskWrites>(&message)) {
    replica_->receive(std::move(*writes), bulk_bytes);
  } else if (const auto* device = std::get_if<link::EpochDevice>(&message)) {
    replica_->receive(*device, bulk_bytes);
  } else if (const auto* end = std::get_if<link::EpochEnd>(&message)) {
    replica_->receive(*end, bulk_bytes);
  } else if (const auto* begin = std::get_if<link::EpochBegin>(&message)) {
    replica_->receive(*begin, bulk_bytes);
  } else if (const auto* beat = std::get_if<link::HeartbeatMsg>(&message)) {
    engine_->heartbeat(now, beat->heartbeat);
  } else if (auto* sync = std::get_if<link::SyncPages>(&message)) {
    replica_->receive(std::move(*sync), bulk_bytes);
  } else if (auto* disk = std::get_if<link::DiskSync>(&message)) {
    replica_->receive(std::move(*disk), bulk_bytes);
  } else if (const auto* wanted = std::get_if<link::DiskHashesWanted>(&message)) {
    replica_->receive(*wanted);
  } else if (const auto* session = std::get_if<link::SessionBegin>(&message)) {
    begin_session(*session);
    if (connection_) connection_->consumed(bulk_bytes);
  } else if (const auto* verify = std::get_if<link::VerifyBegin>(&message)) {
    replica_->receive(*verify, bulk_bytes);
  } else if (auto* hashes = std::get_if<link::VerifyHashes>(&message)) {
    replica_->receive(std::move(*hashes), bulk_bytes);
  } else if (auto* blocks = std::get_if<link::VerifyDiskHashes>(&message)) {
    replica_->receive(std::move(*blocks), bulk_bytes);
  } else if (const auto* goodbye = std::get_if<link::Goodbye>(&message)) {
    if (connection_) connection_->consumed(bulk_bytes);
    switch (goodbye->reason) {
      case link::GoodbyeReason::unprotected: engine_->goodbye(now, engine::Goodbye::unprotected); break;
      case link::GoodbyeReason::guest_gone: engine_->goodbye(now, engine::Goodbye::guest_stopped); break;
      case link::GoodbyeReason::guest_crashed: engine_->goodbye(now, engine::Goodbye::guest_crashed); break;
      case link::GoodbyeReason::switchover:
      case link::GoodbyeReason::alone:
      case link::GoodbyeReason::fenced:
      case link::GoodbyeReason::shutting_down: break;  // the link's end says the rest
    }
  } else if (connection_) {
    connection_->consumed(bulk_bytes);
  }
  after_event();
}

void BackupGuard::begin_session(const link::SessionBegin& message) {
  REMUS_FAULT_POINT("recv.session_begin");
  if (message.session != engine_->session()) {
    engine_->session_begin(engine_now(), message.session, message.generation);
    after_event();
    if (engine_->session() != message.session) return;  // not taken: an older generation
    replica_->begin(message.session);
  }
  // The layout follows as soon as the primary knows it.
  if (message.layout.pages() == 0) return;
  replica_->prepare(message.session, description_, message.layout, message.wants_hashes,
                    {message.resync_base, message.resync_epochs});
}

Replica::Events BackupGuard::replica_events() {
  Replica::Events events;
  events.built = [this](const Status& done) { built(done); };
  events.prepared = [this](engine::Session session, bool hashes_follow, engine::Session disks_base) {
    standby_handle_ = replica_->handle();
    events_.add("sync", hashes_follow ? "standby kept, its image is offered for what still fits"
                                      : "standby prepared");
    send(link::SessionReady{.session = session, .hashes_follow = hashes_follow, .disks_base = disks_base});
  };
  events.offer = [this](const link::HashOffer& offer) { send(offer); };
  events.disk_hashes = [this](const link::DiskHashes& hashes) { send(hashes); };
  events.prepare_failed = [this](engine::Session, const Error& error) {
    last_error_ = error.in("preparing the standby");
    events_.error(*last_error_);
    send(link::Refuse{.kind = error.kind, .what = error.what, .fix = error.fix});
  };
  events.whole = [this](engine::Session session, engine::Epoch epoch) {
    engine_->epoch_whole(engine_now(), session, epoch);
    after_event();
  };
  events.malformed = [this](engine::Session session, const Error& error) {
    last_error_ = error.in("receiving");
    events_.error(*last_error_);
    engine_->apply_failed(engine_now(), session, error.what);
    after_event();
  };
  events.applied = [this](engine::Session session, engine::Epoch epoch) {
    applied_at_ = engine_now();
    applied_rate_.sum(applied_at_, static_cast<double>(++applied_total_));
    engine_->epoch_applied(applied_at_, session, epoch);
    after_event();
  };
  events.apply_failed = [this](engine::Session session, const Error& error) {
    last_error_ = error.in("applying");
    events_.error(*last_error_);
    engine_->apply_failed(engine_now(), session, error.what);
    after_event();
  };
  events.consumed = [this](std::size_t bytes) {
    if (connection_) connection_->consumed(bytes);
  };
  events.activated = [this](const hypervisor::ActivationReport& report) { activated(report); };
  events.activation_failed = [this](const Error& error) {
    last_error_ = error.in("activating");
    events_.error(*last_error_);
    engine_->activation_failed(engine_now(), error.what);
    after_event();
    for (const auto& waiter : std::exchange(failover_waiters_, {})) waiter.fail(*last_error_);
  };
  events.discarded = [this] {
    if (engine_->state() != engine::BackupState::ended) return;
    if (stop_) stop_->reply({200, "{}"});
    stop_.reset();
    leave_soon();
  };
  events.standby_lost = [this](const Error& error) {
    standby_handle_ = nullptr;
    last_error_ = error;
    events_.error(error);
    engine_->standby_lost(engine_now(), error.what);
    after_event();
  };
  events.verified = [this](const link::VerifyResult& result) { send(result); };
  return events;
}

}  // namespace remus::guard
