// BackupGuard's side towards the daemon: the control socket (docs/guard-api.md).
#include <fmt/format.h>
#include <unistd.h>

#include "guard/backup_guard.hpp"
#include "guard/control.hpp"
#include "guard/engine_clock.hpp"
#include "guard/process_facts.hpp"

namespace remus::guard {
void BackupGuard::serve(const http::Request& request, const http::Responder& responder) {
  const auto is = [&](std::string_view method, std::string_view path) {
    return request.method == method && request.path == path;
  };
  if (serve_looking(request, responder, events_, [this] { return status(); })) return;
  if (is("GET", "/v1/ready")) {
    if (phase_ == Phase::refused)
      responder.fail(*last_error_);
    else if (!listener_)
      responder.reply({202, R"({"phase": "starting"})"});
    else
      responder.reply(
          {200, nlohmann::json{{"port", listener_->port()}, {"generation", state_file_->record().generation}}
                    .dump()});
  } else if (is("POST", "/v1/failover")) {
    serve_failover(request, responder);
  } else if (is("POST", "/v1/adjust")) {
    serve_adjust(request, responder);
  } else if (is("POST", "/v1/stop")) {
    serve_stop(responder);
  } else if (is("POST", "/v1/handover")) {
    serve_handover(responder);
  } else {
    responder.fail(
        {Errc::not_found, fmt::format("a backup's guard has no {} {}", request.method, request.path), {}});
  }
}

void BackupGuard::serve_failover(const http::Request& request, const http::Responder& responder) {
  const auto body = body_of(request);
  if (!body) return responder.fail(body.error());
  if (!engine_) return responder.fail(last_error_.value_or(Error{Errc::refused, "there is no standby", {}}));
  if (engine_->state() == engine::BackupState::active) return responder.reply({200, failover_json().dump()});
  const auto force = body->value("force", nlohmann::json(false));
  if (!force.is_boolean()) return responder.fail({Errc::invalid, "'force' must be true or false", {}});
  if (const auto taken = engine_->operator_failover(engine_now(), force.get<bool>()); !taken)
    return responder.fail({Errc::refused, taken.error(),
                           force.get<bool>()
                               ? std::string{}
                               : "make sure that the primary's guest is stopped, then use --force"});
  if (manual_ != nullptr) manual_->approve();
  failover_waiters_.push_back(responder);
  after_event();
}

void BackupGuard::serve_adjust(const http::Request& request, const http::Responder& responder) {
  const auto options = adjusted(request, spec_.options);
  if (!options) return responder.fail(options.error());
  spec_.options = *options;
  if (engine_) engine_->configure(options->engine);
  if (peer_host_) peer_host_->every(report_interval(options->engine.detect_min));
  events_.add("state", "options changed", to_json(spec_.options));
  after_event();
  responder.reply({200, to_json(spec_.options).dump()});
}

void BackupGuard::serve_stop(const http::Responder& responder) {
  if (!engine_) {
    responder.reply({200, "{}"});
    leave_soon();
    return;
  }
  if (engine_->state() == engine::BackupState::active || engine_->state() == engine::BackupState::activating)
    return responder.fail({Errc::refused,
                           fmt::format("guest '{}' runs here: it is no standby any more", spec_.guest),
                           "shut the guest down, or protect it from this host"});
  if (ending_) return responder.reply({200, "{}"});
  stop_ = responder;
  engine_->unprotect(engine_now());
  after_event();
}

void BackupGuard::serve_handover(const http::Responder& responder) {
  if (!engine_ || engine_->state() != engine::BackupState::active)
    return responder.fail({Errc::refused, fmt::format("guest '{}' is not active here", spec_.guest), {}});
  responder.reply(
      {200, nlohmann::json{{"handle", replica_->handle()}, {"generation", engine_->generation()}}.dump()});
  leave_soon();
}

nlohmann::json BackupGuard::failover_json() const {
  return {{"detected_ms", failover_->detected_ms},
          {"activation_ms", failover_->activation_ms},
          {"epoch", failover_->epoch},
          {"time", failover_->time}};
}

GuardStatus BackupGuard::status() const {
  const engine::Time now = engine_now();
  GuardStatus s;
  s.guest = spec_.guest;
  s.side = Side::backup;
  s.peer = spec_.peer;
  s.phase = phase_;
  s.reason = reason_;
  s.last_error = last_error_;
  s.generation = state_file_->record().generation;
  if (engine_) {
    s.state = engine::to_string(engine_->state());
    s.session = engine_->session();
    s.epoch.committed = engine_->acked();
    s.epoch.applied = engine_->applied();
    if (engine_->applied()) s.epoch.age_of_last_commit_ms = milliseconds(now - applied_at_);
    // Told before the guest runs, too: were this guard to die while it takes over, the daemon must find the guest.
    s.handle = standby_handle_;
    if (engine_->state() == engine::BackupState::active) {
      s.handle = replica_->handle();
      if (const auto pid = s.handle.value("pid", 0U); pid != 0) s.guest_pid = pid;
      s.alone = true;
      s.failover = failover_;
    }
  }
  s.epoch.checkpoints_total = applied_total_;
  s.epoch.checkpoints_per_s = applied_rate_.per_second(now);
  if (connection_) s.traffic.wire_bytes = connection_->stats().received_bytes;
  s.link = {.state = link_state_,
            .address = link_address_,
            .rtt_us = std::nullopt,
            .since_ms = milliseconds(now - link_since_)};
  s.arbiter = spec_.options.arbiter;
  s.pid = static_cast<std::uint32_t>(::getpid());
  s.uptime_ms = milliseconds(now - started_);
  s.memory_overhead_bytes = resident_bytes();
  s.last_event = events_.newest();
  s.options = spec_.options;
  return s;
}

}  // namespace remus::guard
