// PrimaryGuard's side towards the daemon: the control socket (docs/guard-api.md).
#include <fmt/format.h>

#include <algorithm>

#include "guard/control.hpp"
#include "guard/engine_clock.hpp"
#include "guard/primary_guard.hpp"
#include "guard/process_facts.hpp"
#include "guard/verify.hpp"

namespace remus::guard {
void PrimaryGuard::serve(const http::Request& request, const http::Responder& responder) {
  const auto is = [&](std::string_view method, std::string_view path) {
    return request.method == method && request.path == path;
  };
  if (serve_looking(request, responder, events_, [this] { return status(); })) return;
  if (is("GET", "/v1/description")) {
    if (phase_ == Phase::refused)
      responder.fail(*last_error_);
    else if (!guest_.domain)
      responder.reply({202, R"({"phase": "starting"})"});
    else
      responder.reply({200, to_json(guest_.domain->description()).dump()});
  } else if (is("POST", "/v1/connect")) {
    serve_connect(request, responder);
  } else if (is("POST", "/v1/adjust")) {
    serve_adjust(request, responder);
  } else if (is("POST", "/v1/verify")) {
    serve_verify(request, responder);
  } else if (is("POST", "/v1/superseded")) {
    serve_superseded(request, responder);
  } else if (is("POST", "/v1/unprotect")) {
    serve_unprotect(responder);
  } else {
    responder.fail(
        {Errc::not_found, fmt::format("a primary's guard has no {} {}", request.method, request.path), {}});
  }
}

void PrimaryGuard::serve_connect(const http::Request& request, const http::Responder& responder) {
  const auto body = body_of(request);
  if (!body) return responder.fail(body.error());
  if (phase_ == Phase::refused) return responder.fail(*last_error_);
  if (!guest_.domain)
    return responder.fail({Errc::refused, "the guest is still being inspected", "ask again in a moment"});
  std::vector<Endpoint> links;
  const auto list = body->find("links");
  if (list == body->end() || !list->is_array() || list->empty())
    return responder.fail({Errc::invalid, "'links' must be a list of \"address:port\"", {}});
  for (const auto& text : *list) {
    if (!text.is_string())
      return responder.fail({Errc::invalid, "'links' must be a list of \"address:port\"", {}});
    auto endpoint = parse_endpoint(text.get<std::string>());
    if (!endpoint) return responder.fail(endpoint.error());
    links.push_back(std::move(*endpoint));
  }
  run(std::move(links));
  if (phase_ == Phase::refused) return responder.fail(*last_error_);
  responder.reply({200, "{}"});
}

void PrimaryGuard::serve_adjust(const http::Request& request, const http::Responder& responder) {
  const auto options = adjusted(request, spec_.options);
  if (!options) return responder.fail(options.error());
  spec_.options = *options;
  if (engine_) engine_->configure(options->engine);
  if (connection_) connection_->set_bandwidth(options->bandwidth_bytes_per_s);
  if (pipeline_) {
    pipeline_->set_link_rate(options->bandwidth_bytes_per_s);
    pipeline_->set_copy_rate(options->copy_rate_bytes_per_s);
  }
  events_.add("state", "options changed", to_json(spec_.options));
  after_event();
  responder.reply({200, to_json(spec_.options).dump()});
}

void PrimaryGuard::serve_verify(const http::Request& request, const http::Responder& responder) {
  const auto asked = verify_request(request, spec_);
  if (!asked) return responder.fail(asked.error());
  if (!engine_ || engine_->state() != engine::PrimaryState::protected_)
    return responder.fail({Errc::refused,
                           fmt::format("guest '{}' is not protected now: {}", spec_.guest, reason_),
                           "verify it when `remus status` says protected"});
  if (verify_)
    return responder.fail({Errc::exists, "a verification is under way already", "wait for it to end"});
  verify_.emplace(PendingVerify{++verify_ids_, responder, engine_now(), *asked, {}});
  pipeline_->verifier().begin(verify_->id, asked->disks, asked->max_pause);
  engine_->checkpoint_now(engine_now());
  after_event();
}

void PrimaryGuard::verified(const link::VerifyResult& result) {
  if (!verify_ || verify_->id != result.id) return;
  VerifyReport& report = verify_->report;
  if (const auto layout = pipeline_->known_layout()) add_pages(report, result, *layout);
  if (result.failure.empty() && !pipeline_->verifier().whole(result.id)) {
    pipeline_->verifier().go_on(result.id);
    engine_->checkpoint_now(engine_now());
    after_event();
    return;
  }
  pipeline_->verifier().forget();
  const PendingVerify pending = std::move(*verify_);
  verify_.reset();
  report_verified(pending, result);
}

void PrimaryGuard::report_verified(const PendingVerify& pending, const link::VerifyResult& result) {
  if (!result.failure.empty()) {
    pending.responder.fail({Errc::internal, fmt::format("verification failed: {}", result.failure), {}});
    return;
  }
  // Whoever asked for the disks must not take an answer without them for one.
  if (pending.asked.disks && result.compared_blocks == 0) {
    pending.responder.fail({Errc::internal, "verification failed: no block of the disks was compared", {}});
    return;
  }
  VerifyReport report = pending.report;
  report.duration_ms = milliseconds(engine_now() - pending.began);
  if (pending.asked.disks) report.bytes_left_out = pipeline_->left_out_bytes();
  if (pending.asked.disks) add_blocks(report, result, disk_names(spec_.options.disks, DiskMode::replicate));
  events_.add("verify", sentence_of(report), to_json(report));
  pending.responder.reply({200, to_json(report).dump()});
}

std::optional<GuardStatus::Verification> PrimaryGuard::verification_status() const {
  if (!verify_ || !pipeline_) return std::nullopt;
  GuardStatus::Verification out{.done_bytes =
                                    std::uint64_t{pipeline_->verifier().reached()} * checkpoint::page_bytes};
  if (const auto layout = pipeline_->known_layout())
    out.total_bytes = std::uint64_t{layout->pages()} * checkpoint::page_bytes;
  if (!verify_->asked.disks) return out;
  if (const auto* disks = pipeline_->disks())
    for (const auto& disk : disks->report()) out.total_bytes += disk.bytes;
  if (pipeline_->verifier().whole(verify_->id)) out.done_bytes += pipeline_->verified_disk_bytes();
  return out;
}

void PrimaryGuard::serve_superseded(const http::Request& request, const http::Responder& responder) {
  const auto body = body_of(request);
  if (!body) return responder.fail(body.error());
  const auto generation = body->value("generation", nlohmann::json{});
  if (!generation.is_number_unsigned())
    return responder.fail({Errc::invalid, "'generation' must be a number", {}});
  const auto by = generation.get<std::uint64_t>();
  if (engine_) {
    if (by <= engine_->generation())
      return responder.fail(
          {Errc::invalid,
           fmt::format("generation {} is not later than this guest's {}", by, engine_->generation()),
           {}});
    engine_->backup_is_active(engine_now(), by);
    after_event();
  } else if (guest_.domain) {
    act(engine::primary_action::Fence{by});
  }
  responder.reply({200, "{}"});
}

void PrimaryGuard::serve_unprotect(const http::Responder& responder) {
  if (!engine_) {
    responder.reply({200, "{}"});
    end_timer_.expires_after(std::chrono::milliseconds{100});
    end_timer_.async_wait([this](const boost::system::error_code&) { leave(); });
    return;
  }
  if (ending_) return responder.reply({200, "{}"});
  unprotect_ = responder;
  engine_->unprotect(engine_now());
  after_event();
}

std::vector<GuardStatus::Disk> PrimaryGuard::disk_status() const {
  std::vector<GuardStatus::Disk> out;
  const auto reports = pipeline_ && pipeline_->disks() != nullptr ? pipeline_->disks()->report()
                                                                  : std::vector<PrimaryDisks::Report>{};
  const bool copying = engine_ && engine_->state() == engine::PrimaryState::synchronizing;
  for (const auto& option : spec_.options.disks) {
    GuardStatus::Disk disk{
        .name = option.name, .mode = option.mode, .state = std::string{to_string(option.mode)}};
    const auto report = std::ranges::find(reports, option.name, &PrimaryDisks::Report::name);
    if (option.mode == DiskMode::replicate) {
      disk.state = "copying";
      if (report != reports.end()) {
        if (report->broken)
          disk.state = "broken";
        else if (!copying)
          disk.state = "replicated";
        disk.bytes = report->bytes;
        if (copying) {
          disk.compared_bytes = report->compared_bytes;
          disk.copied_bytes = report->copied_bytes;
          disk.total_bytes = report->total_bytes;
        }
        disk.log_bytes = report->waiting_bytes;
        disk.writes = report->writes;
        disk.written_bytes = report->written_bytes;
        disk.resync_bytes = report->resync_bytes;
      }
    }
    out.push_back(std::move(disk));
  }
  return out;
}

GuardStatus PrimaryGuard::status() const {
  const engine::Time now = engine_now();
  GuardStatus s;
  s.guest = spec_.guest;
  s.side = Side::primary;
  s.peer = spec_.peer;
  s.phase = phase_;
  s.reason = reason_;
  s.last_error = last_error_;
  s.generation = state_file_->record().generation;
  s.alone = state_file_->record().alone;
  if (engine_) {
    s.state = engine::to_string(engine_->state());
    // Also where the record of it could not be written: whoever asks decides about a second copy.
    s.alone = s.alone || engine_->state() == engine::PrimaryState::alone;
    s.generation = engine_->generation();
    s.session = engine_->session();
    s.epoch.captured = engine_->captured_epoch();
    s.epoch.committed = engine_->committed();
    s.traffic.raw_bytes = raw_bytes_;
    s.traffic.wire_bytes = sender_.sent_payload_bytes() - wire_base_bytes_;
    if (const auto at = engine_->committed_at()) s.epoch.age_of_last_commit_ms = milliseconds(now - *at);
    s.output = [stats = guest_.output->stats()] {
      return GuardStatus::Output{stats.held_packets, stats.held_bytes, stats.released_packets,
                                 stats.released_bytes, stats.dropped_packets};
    }();
  }
  s.epoch.checkpoints_total = checkpoints_;
  s.epoch.checkpoints_per_s = checkpoint_rate_.per_second(now);
  if (!pauses_us_.empty()) {
    s.pause = {.p50_us = pauses_us_.at(0.5),
               .p99_us = pauses_us_.at(0.99),
               .last_us = pauses_us_.last(),
               .max_us = pause_max_us_,
               .overhead = paused_rate_.per_second(now) / 1e6};
    s.traffic.dirty_pages_last = dirty_pages_.last();
    s.traffic.dirty_pages_avg = dirty_pages_.mean();
  }
  if (sync_ && engine_ && engine_->state() == engine::PrimaryState::synchronizing) {
    GuardStatus::Sync sync{.done_bytes = sync_->done_bytes, .total_bytes = sync_->total_bytes};
    const double elapsed = std::chrono::duration<double>(now - sync_began_).count();
    if (sync.done_bytes > 0 && sync.total_bytes >= sync.done_bytes)
      sync.eta_s = elapsed * static_cast<double>(sync.total_bytes - sync.done_bytes) /
                   static_cast<double>(sync.done_bytes);
    s.sync = sync;
  }
  s.verification = verification_status();
  s.disks = disk_status();
  s.link = {.state = link_state_,
            .address = link_address_,
            .rtt_us = std::nullopt,
            .since_ms = milliseconds(now - link_since_)};
  if (rtt_ != engine::Duration{})
    s.link.rtt_us =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(rtt_).count());
  s.arbiter = spec_.options.arbiter;
  s.pid = static_cast<std::uint32_t>(::getpid());
  if (keeper_ > 0) s.keeper_pid = static_cast<std::uint32_t>(keeper_);
  if (guest_.pid > 0) s.guest_pid = static_cast<std::uint32_t>(guest_.pid);
  s.handle = guest_.handle;
  s.uptime_ms = milliseconds(now - started_);
  s.memory_overhead_bytes = resident_bytes();
  s.last_event = events_.newest();
  s.options = spec_.options;
  return s;
}

}  // namespace remus::guard
