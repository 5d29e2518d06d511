// PrimaryGuard's side towards the backup: connecting, and what comes over the link and out of the pipeline.
#include <fmt/format.h>

#include "base/fault.hpp"
#include "guard/engine_clock.hpp"
#include "guard/primary_guard.hpp"

namespace remus::guard {

void PrimaryGuard::connect() {
  link::ConnectorOptions options;
  for (const auto& endpoint : links_) options.addresses.push_back({endpoint.host, endpoint.port});
  options.expected_host = spec_.peer;
  options.backoff_max = std::chrono::milliseconds{1000};
  options.connection.bandwidth_bytes_per_s = spec_.options.bandwidth_bytes_per_s;
  // The oldest unacknowledged epoch may have to be sent whole before anything is released, so the queue need not be long.
  options.connection.send_queue_bytes = 8U << 20;
  connector_ = std::make_unique<link::Connector>(
      io_, pki_, std::move(options),
      link::Connector::Handlers{
          .hello =
              [this] {
                return link::Hello{.guest = spec_.guest,
                                   .generation = engine_->generation(),
                                   .session = engine_->session(),
                                   .description_json = to_json(guest_.domain->description()).dump()};
              },
          .on_connected = [this](std::unique_ptr<link::Connection> connection,
                                 const link::Welcome& welcome) { connected(std::move(connection), welcome); },
          .on_failed =
              [this](const Error& error, std::chrono::milliseconds /*next*/) {
                if (link_state_ != "refused" && link_state_ != "down") spdlog::warn("link: {}", error.text());
                set_link_state(error.kind == Errc::unreachable || error.kind == Errc::timeout ? "down"
                                                                                              : "refused");
                if (!doomed_) last_error_ = error;
              }});
  set_link_state("connecting");
  connector_->start();
}

void PrimaryGuard::set_link_state(std::string state, std::string address) {
  if (!address.empty()) link_address_ = std::move(address);
  if (state == link_state_) return;
  link_state_ = std::move(state);
  link_since_ = engine_now();
  events_.add("link", fmt::format("link to {} is {}", spec_.peer, link_state_),
              {{"state", link_state_}, {"address", link_address_}});
}

void PrimaryGuard::connected(std::unique_ptr<link::Connection> connection, const link::Welcome& welcome) {
  if (ending_ || fencing_) return;
  connector_->stop();
  connection_ = std::move(connection);
  set_link_state("up", connection_->remote_address());
  connection_->start({.on_message = [this](const link::Message& message, std::size_t) { receive(message); },
                      .on_writable = [this] { sender_.pump(); },
                      .on_closed = [this](const Error& error) { lost(error); }});
  sender_.attach(connection_.get());
  engine_->link_up(engine_now(), welcome.backup);
  after_event();
}

void PrimaryGuard::lost(const Error& error) {
  sender_.detach();
  connection_.reset();
  if (ending_ || fencing_) return;
  if (error.kind != Errc::closed) spdlog::warn("link lost: {}", error.text());
  set_link_state("connecting");
  engine_->link_down(engine_now());
  after_event();
  if (!ending_ && !fencing_ && !connection_) connector_->start();
}

void PrimaryGuard::send(const link::Message& message) {
  if (!connection_) return;
  // A failure means that the connection is on its way out; on_closed tells.
  if (const Status sent = connection_->send(message); !sent) spdlog::debug("send: {}", sent.error().text());
}

void PrimaryGuard::receive(const link::Message& message) {
  const engine::Time now = engine_now();
  if (const auto* ack = std::get_if<link::Ack>(&message)) {
    REMUS_FAULT_POINT("ack.received");
    if (ack->session == engine_->session()) pipeline_->survives(ack->survives);
    engine_->acked(now, ack->session, ack->epoch);
  } else if (const auto* beat = std::get_if<link::HeartbeatMsg>(&message)) {
    if (beat->heartbeat.echo != engine::Time{}) {
      const engine::Duration round_trip = now - beat->heartbeat.echo;
      // The peer answers with its next heartbeat, so the smallest of the recent ones is the nearest to the truth.
      rtt_ = rtt_ == engine::Duration{} ? round_trip : std::min(round_trip, rtt_ + rtt_ / 64);
    }
    engine_->heartbeat(now, beat->heartbeat);
  } else if (const auto* active = std::get_if<link::Active>(&message)) {
    engine_->backup_is_active(now, active->generation);
  } else if (const auto* ready = std::get_if<link::SessionReady>(&message)) {
    pipeline_->disks_base(ready->disks_base);
    if (!ready->hashes_follow) pipeline_->backup_ready(ready->session);
  } else if (const auto* offer = std::get_if<link::HashOffer>(&message)) {
    pipeline_->offer(offer->session, offer->first_page, offer->hashes);
    if (offer->last) pipeline_->backup_ready(offer->session);
  } else if (const auto* hashes = std::get_if<link::DiskHashes>(&message)) {
    pipeline_->disk_hashes(*hashes);
  } else if (const auto* refusal = std::get_if<link::Refuse>(&message)) {
    last_error_ = refusal->error().in(fmt::format("host '{}'", spec_.peer));
    events_.error(*last_error_);
    engine_->backup_refused(now, last_error_->what);
  } else if (const auto* result = std::get_if<link::VerifyResult>(&message)) {
    verified(*result);
  }
  after_event();
}

Pipeline::Events PrimaryGuard::pipeline_events() {
  Pipeline::Events events;
  events.layout_known = [this](engine::Session session, const checkpoint::Layout& layout) {
    const DisksBase base = pipeline_->disks() != nullptr ? pipeline_->disks()->base() : DisksBase{};
    send(link::SessionBegin{.session = session,
                            .generation = engine_->generation(),
                            .layout = layout,
                            .wants_hashes = true,
                            .resync_base = base.session,
                            .resync_epochs = base.epochs});
  };
  events.progress = [this](engine::Session, hypervisor::SyncProgress progress) {
    if (sync_) sync_ = progress;
  };
  events.synchronized = [this](engine::Session session, const hypervisor::CaptureReport& report) {
    record_capture(report);
    // Output has been held since that pause.
    static_cast<void>(record({.generation = engine_->generation(), .role = HostRole::primary}));
    engine_->synchronized(engine_now(), session,
                          {.pages = report.pages,
                           .bytes = report.device_bytes,
                           .pause = std::chrono::microseconds{report.held_us()}});
    after_event();
  };
  events.sync_failed = [this](engine::Session session, const Error& error) {
    if (guest_is_lost()) return;
    if (!doomed_) {
      last_error_ = error.in("synchronizing");
      events_.error(*last_error_);
    }
    engine_->sync_failed(engine_now(), session, error.what);
    after_event();
  };
  events.captured = [this](engine::Session session, engine::Epoch epoch,
                           const hypervisor::CaptureReport& report, std::uint64_t disk_bytes) {
    record_capture(report);
    const std::uint64_t bytes =
        (report.pages + report.zero_pages) * checkpoint::page_bytes + report.device_bytes + disk_bytes;
    raw_bytes_ += bytes;
    engine_->captured(engine_now(), session, epoch,
                      {.pages = report.pages + report.zero_pages,
                       .bytes = bytes,
                       .pause = std::chrono::microseconds{report.held_us()}});
    after_event();
  };
  events.capture_failed = [this](engine::Session session, const Error& error) {
    if (guest_is_lost()) return;
    if (!doomed_) {
      last_error_ = error.in("taking a checkpoint");
      events_.error(*last_error_);
    }
    engine_->capture_failed(engine_now(), session, error.what);
    after_event();
  };
  events.ready = [this](engine::Session) {
    engine_->capture_ready(engine_now());
    after_event();
  };
  events.encoded = [this](Outbound item) {
    if (item.session == engine_->session()) sender_.push(std::move(item));
  };
  events.encode_failed = [this](engine::Session session, const Error& error) {
    last_error_ = error.in("encoding an epoch");
    events_.error(*last_error_);
    engine_->capture_failed(engine_now(), session, error.what);
    after_event();
  };
  events.detached = [this] {
    if (!engine_ || ending_ || fencing_) return;
    if (engine_->state() == engine::PrimaryState::ended) end(reason_);
  };
  events.disks_copied = [this](engine::Session, PrimaryDisks::Progress done) {
    const std::uint64_t all = pipeline_->disks()->bytes();
    events_.add(
        "disk",
        fmt::format("{} of {} MiB of the disks compared with the backup's, of which {} MiB differed and "
                    "went there",
                    done.done_bytes >> 20, all >> 20, done.copied_bytes >> 20),
        {{"compared_bytes", done.done_bytes}, {"copied_bytes", done.copied_bytes}, {"bytes", all}});
  };
  events.hashes_wanted = [this](const link::DiskHashesWanted& wanted) { send(wanted); };
  events.verify_failed = [this](std::uint64_t id, const Error& error) {
    if (verify_ && verify_->id == id) std::exchange(verify_, std::nullopt)->responder.fail(error);
  };
  events.disks_press = [this] {
    engine_->checkpoint_now(engine_now());
    after_event();
  };
  return events;
}

void PrimaryGuard::record_capture(const hypervisor::CaptureReport& report) {
  ++checkpoints_;
  const std::uint64_t held_us = report.held_us();
  paused_us_ += held_us;
  pauses_us_.add(held_us);
  pause_max_us_ = std::max(pause_max_us_, held_us);
  dirty_pages_.add(report.pages + report.zero_pages);
  const engine::Time now = engine_now();
  checkpoint_rate_.sum(now, static_cast<double>(checkpoints_));
  paused_rate_.sum(now, static_cast<double>(paused_us_));
  if (auto told = long_pauses_.note(now, report))
    events_.add("pause", std::move(*told),
                {{"pause_us", held_us}, {"pages", report.pages + report.zero_pages}});
}

}  // namespace remus::guard
