#include "hypervisor/xen/domain.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <initializer_list>
#include <optional>
#include <utility>

#include "base/fault.hpp"
#include "hypervisor/qemu/guest_disks.hpp"
#include "hypervisor/xen/base64.hpp"
#include "hypervisor/xen/death_watch.hpp"
#include "hypervisor/xen/device_model.hpp"
#include "hypervisor/xen/dirty_log.hpp"
#include "hypervisor/xen/domain_disks.hpp"
#include "hypervisor/xen/guest_copier.hpp"
#include "hypervisor/xen/hvm_records.hpp"
#include "hypervisor/xen/inspect.hpp"
#include "hypervisor/xen/ioreq_servers.hpp"
#include "hypervisor/xen/pv_guest.hpp"
#include "hypervisor/xen/suspender.hpp"

namespace remus::hypervisor::xen {

using checkpoint::CheckpointSink;
using checkpoint::Epoch;
using Clock = std::chrono::steady_clock;
using json = nlohmann::json;

namespace {

constexpr unsigned rounds_max = 12;        // of a synchronization, while the guest runs
constexpr std::uint64_t calm_pages = 256;  // so few dirty pages are copied while it stands still
constexpr std::chrono::milliseconds user_pause_patience{10'000};
constexpr std::chrono::milliseconds model_death_patience{200};  // from its closed sockets to its end

std::uint64_t us_since(Clock::time_point from, Clock::time_point to) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(to - from).count());
}

class Source final : public XenDomain {
 public:
  Source(std::shared_ptr<Handles> handles, XenAttachOptions options, DomainFacts facts)
      : handles_{std::move(handles)},
        options_{std::move(options)},
        facts_{std::move(facts)},
        death_{handles_, facts_.domid},
        servers_{std::make_shared<IoreqServers>(handles_, facts_.domid, facts_.vcpus)},
        suspender_{handles_, servers_, facts_, mark_},
        log_{handles_, facts_.domid},
        memory_{handles_, facts_.domid},
        pv_{handles_, facts_.domid, PvShape{facts_.pv_width_bytes}},
        hvm_{handles_, facts_.domid},
        model_{handles_, servers_, facts_.domid, mark_, options_.hold_model},
        crew_{options_.copy_helpers.value_or(CopyCrew::usual_helpers())} {}
  ~Source() override { static_cast<void>(detach()); }

  /// The rest of what attach_xen() has to do.
  Status attach();

  const GuestDescription& description() const override { return description_; }
  std::uint32_t domid() const override { return facts_.domid; }
  const std::string& name() const override { return facts_.name; }
  const std::vector<Vif>& vifs() const override { return facts_.vifs; }
  bool alive() const override { return death_.alive(); }
  bool shut_down_in_order() const override { return death_.in_order(); }
  bool device_model_dead() const override { return death_.model_dead(); }
  Result<std::unique_ptr<GuestDisks>> replicated_disks(const std::filesystem::path& directory) override {
    if (served_.empty()) return nullptr;
    return make_domain_disks(handles_, {facts_.domid, facts_.uuid}, monitor_, served_, facts_, directory);
  }
  void on_ends(std::function<void()> callback) override { death_.on_look(std::move(callback)); }

  Result<CaptureReport> synchronize(CheckpointSink& sink,
                                    const std::function<void(SyncProgress)>& progress) override;
  Status ready() override;
  Result<CaptureReport> capture(Epoch epoch, CheckpointSink& sink) override;
  Status detach() override;
  void interrupt() override { suspender_.interrupt(); }
  Status read_memory(checkpoint::PageIndex from, const MemoryVisit& visit) override {
    visit_ = visit;
    return copier_->visit(from, visit);
  }

 private:
  [[nodiscard]] bool paravirtual() const noexcept { return facts_.kind == Kind::pv; }
  [[nodiscard]] std::string title() const { return fmt::format("domain {} ({})", facts_.domid, facts_.name); }
  Status find_disks();
  Status map_memory();
  Status describe();
  Status start_session();
  Status copy_running(CheckpointSink& sink, const std::function<void(SyncProgress)>& progress);
  Result<CaptureReport> checkpoint(CheckpointSink& sink);
  Status copy_stopped(CheckpointSink& sink, CaptureReport& report);
  Status write_records();
  /// The device model's part, and all of the device state into the sink.
  Status finish_state(CheckpointSink& sink, CaptureReport& report);
  Status check_unchanged();
  /// Whether what is left of a capture can be done while the guest runs again.
  bool may_run_ahead();
  Status let_model_go();
  /// The guest must not stand still, nor be followed, for our failure.
  Error abandon(Error error);

  std::shared_ptr<Handles> handles_;
  XenAttachOptions options_;
  DomainFacts facts_;
  GuestDescription description_{};
  DeathWatch death_;
  SessionMark mark_{};
  std::shared_ptr<IoreqServers> servers_;
  Suspender suspender_;
  DirtyLog log_;
  GuestMemory memory_;
  PvGuest pv_;
  HvmRecords hvm_;
  DeviceModel model_;
  ServedDisks served_{};                  ///< those whose writes are replicated
  std::shared_ptr<qemu::Qmp> monitor_{};  ///< of the QEMU that serves them, for as long as we are attached
  CopyCrew crew_;
  std::optional<GuestCopier> copier_{};
  DeviceStateWriter device_{};
  std::uint64_t mapped_pages_{};  ///< the domain's page count when it was mapped
  bool following_{false};         ///< synchronized, and not detached
  PageWriter::Written visit_{};   ///< who reads the guest's memory in this pause
};

Status Source::attach() {
  if (auto watching = death_.start(facts_.needs_qemu()); !watching) return watching;
  if (auto found = find_disks(); !found) return found;
  if (paravirtual())
    if (auto mapped = map_memory(); !mapped) return mapped;
  // Asked now, so that what forbids following it is known before anything is built on the backup.
  if (auto logged = log_.start(1, facts_.video); !logged) return logged;
  log_.stop();
  return describe();
}

Status Source::find_disks() {
  if (options_.replicated_disks.empty()) return {};
  auto monitor = connect_model(facts_.domid);
  if (!monitor) return std::unexpected(monitor.error());
  auto served = inspect_served(**monitor, facts_, options_.replicated_disks);
  if (!served) return std::unexpected(served.error());
  monitor_ = std::move(*monitor);
  served_ = std::move(*served);
  for (const auto& [name, disk] : served_) description_.disks.push_back(qemu::describe(name, disk));
  return {};
}

Status Source::map_memory() {
  copier_.reset();
  memory_.unmap();
  const auto state = domain_state(*handles_, facts_.domid);
  if (!state) return fail(Errc::closed, title() + " is gone");
  mapped_pages_ = state->pages;
  xen_pfn_t gfns = 0;
  if (paravirtual()) {
    if (auto opened = pv_.open(); !opened) return opened;
    gfns = pv_.frames().size();
  } else if (xc_domain_nr_gpfns(handles_->xc(), facts_.domid, &gfns) < 0) {
    return handles_->fail_call("cannot learn the size of " + title());
  }
  if (auto mapped = memory_.map(gfns, paravirtual() ? pv_.frames() : std::span<const std::uint64_t>{});
      !mapped)
    return mapped;
  if (paravirtual())
    if (auto found = pv_.find_p2m(memory_); !found) return found;
  copier_.emplace(handles_, facts_.domid, memory_,
                  paravirtual() ? pv_.frames() : std::span<const std::uint64_t>{}, pv_.table(), crew_);
  if (!paravirtual()) copier_->always(state->shared_info_frame);
  return {};
}

Status Source::describe() {
  device_.clear();
  device_.begin(Section::records);
  const std::size_t first = device_.bytes().size();
  if (paravirtual())
    if (auto written = pv_.write_info(device_); !written) return written;
  if (auto written = write_cpu_policy(*handles_, facts_.domid, device_); !written) return written;
  device_.record(Libxc::static_data_end, {});
  if (paravirtual())
    if (auto written = pv_.write_p2m_frames(device_); !written) return written;
  const std::string records = encode_base64(device_.bytes().subspan(first));
  device_.end();

  json vifs = json::array();
  for (const Vif& vif : facts_.vifs)
    vifs.push_back({{"devid", vif.devid}, {"mac", vif.mac}, {"bridge", vif.bridge}});
  description_.hypervisor = "xen";
  description_.version = fmt::format("{}.{}", facts_.xen_major, facts_.xen_minor);
  description_.memory_bytes = facts_.pages * checkpoint::page_bytes;
  description_.details = {{"type", to_string(facts_.kind)},
                          {"name", facts_.name},
                          {"uuid", facts_.uuid},
                          {"config", json::parse(facts_.config, nullptr, false)},
                          {"static_records", records},
                          {"vifs", vifs},
                          {"vcpus", facts_.vcpus},
                          {"device_model", facts_.device_model()},
                          {"cooperative", facts_.cooperative}};
  return {};
}

Result<CaptureReport> Source::synchronize(CheckpointSink& sink,
                                          const std::function<void(SyncProgress)>& progress) {
  if (following_) return fail(Errc::internal, "synchronize() without detach() before it");
  suspender_.reset_interrupt();
  auto report = [&]() -> Result<CaptureReport> {
    if (auto started = start_session(); !started) return std::unexpected(started.error());
    sink.layout(memory_.layout());
    if (auto copied = copy_running(sink, progress); !copied) return std::unexpected(copied.error());
    return checkpoint(sink);
  }();
  if (!report) return std::unexpected(abandon(report.error().in("synchronizing " + title())));
  following_ = true;
  return report;
}

Status Source::start_session() {
  death_.look();
  if (!death_.alive()) return fail(Errc::closed, "the guest is gone");
  if (being_saved(facts_.domid))
    return fail(Errc::exists, "it is being saved or migrated", "wait until that has ended");
  if (auto marked = mark_.create(facts_.domid, facts_.uuid); !marked) return marked;
  if (auto opened = suspender_.open(); !opened) return opened;
  if (!copier_ || !check_unchanged())
    if (auto mapped = map_memory(); !mapped) return mapped;
  if (auto logging = log_.start(memory_.gfns(), facts_.video); !logging) return logging;
  if (!facts_.device_model()) return {};
  if (death_.model_dead()) return fail(Errc::closed, fmt::format("the device model of {} has died", title()));
  if (auto opened = model_.open(monitor_); !opened) return opened;
  return model_.log_writes(true);
}

Status Source::copy_running(CheckpointSink& sink, const std::function<void(SyncProgress)>& progress) {
  PageWriter writer{sink};
  const std::uint64_t total_bytes = std::uint64_t{memory_.layout().pages()} * checkpoint::page_bytes;
  const auto told = [&](std::uint64_t pages) {
    if (progress) progress({pages * checkpoint::page_bytes, total_bytes});
    return !suspender_.interrupted() && death_.alive();
  };
  if (auto copied = copier_->copy_all(writer, told); !copied) return copied;
  for (unsigned round = 0; round < rounds_max; ++round) {
    if (!told(memory_.layout().pages()))
      return fail(Errc::closed, suspender_.interrupted() ? "interrupted" : "the guest is gone");
    auto log = log_.clean();
    if (!log) return std::unexpected(log.error());
    const std::uint64_t before = writer.pages() + writer.zero_pages();
    if (auto copied = copier_->copy_dirty(writer, *log, false); !copied) return copied;
    if (writer.pages() + writer.zero_pages() - before < calm_pages) break;
  }
  return {};
}

Status Source::ready() {
  if (!following_) return fail(Errc::closed, "the guest is not being checkpointed");
  for (const auto deadline = Clock::now() + user_pause_patience;; ::usleep(20'000)) {
    if (suspender_.interrupted()) return fail(Errc::closed, "interrupted");
    const auto state = domain_state(*handles_, facts_.domid);
    death_.look();
    if (!state || !death_.alive())
      return std::unexpected(abandon({Errc::closed, title() + " has ended", ""}));
    if (!state->paused) return {};
    if (Clock::now() > deadline)
      return std::unexpected(abandon({Errc::timeout, title() + " is paused by its user", "xl unpause it"}));
  }
}

Result<CaptureReport> Source::capture(Epoch epoch, CheckpointSink& sink) {
  if (auto can = ready(); !can) return std::unexpected(can.error());
  auto report = checkpoint(sink);
  if (!report) return std::unexpected(abandon(report.error().in(fmt::format("capturing epoch {}", epoch))));
  return report;
}

Result<CaptureReport> Source::checkpoint(CheckpointSink& sink) {
  REMUS_FAULT_POINT("capture.before");
  const auto asked = Clock::now();
  if (auto stopped = suspender_.stop(options_.suspend_timeout); !stopped)
    return std::unexpected(stopped.error());
  const auto paused = Clock::now();
  REMUS_FAULT_POINT("capture.paused");
  CaptureReport report;
  report.stop_us = us_since(asked, paused);
  // A guest that suspends itself begins by freezing its programs, at once.
  if (suspender_.cooperative()) report.freeze_us = report.stop_us;
  auto captured = copy_stopped(sink, report);
  const bool ahead = captured && may_run_ahead();
  if (captured && !ahead) captured = finish_state(sink, report);
  REMUS_FAULT_POINT("capture.captured");
  auto model_resumed = ahead ? Status{} : let_model_go();
  const auto resumed = suspender_.resume();
  report.pause_us = us_since(paused, Clock::now());
  if (captured && resumed) REMUS_FAULT_POINT("capture.resumed");
  if (ahead) {
    captured = finish_state(sink, report);
    model_resumed = let_model_go();
  }
  if (model_resumed && facts_.device_model()) model_resumed = model_.resume();
  for (const Status* done : std::initializer_list<const Status*>{&resumed, &captured, &model_resumed})
    if (!*done) return std::unexpected(done->error());
  return report;
}

bool Source::may_run_ahead() {
  if (options_.hold_model) return false;  // for whoever compares, the guest's memory stays as it is
  return !facts_.device_model() || servers_->enable();
}

Status Source::let_model_go() {
  if (!facts_.device_model()) return {};
  model_.let_go();
  // What the guest asks of an emulated device before its server is enabled would be lost: where we cannot do that, QEMU must
  // have done it before the guest goes on.
  return servers_->enable() ? Status{} : model_.resume();
}

Status Source::copy_stopped(CheckpointSink& sink, CaptureReport& report) {
  visit_ = {};
  const auto still = Clock::now();
  // It first ends what it has begun for its emulated disks: its state tells of that, so the mark comes after.
  if (facts_.device_model())
    if (auto stopped = model_.stop(); !stopped) return stopped;
  report.drain_us = us_since(still, Clock::now());
  sink.paused();
  const auto start = Clock::now();
  if (auto same = check_unchanged(); !same) return same;
  auto log = log_.clean();
  if (!log) return std::unexpected(log.error());
  // A guest that stands still is still written to: netback puts what comes for it into its buffers, Xen
  // raises its events. Whoever has read its memory by now is told what was copied in the end.
  PageWriter writer{sink, std::exchange(visit_, {})};
  if (auto copied = copier_->copy_dirty(writer, *log, true); !copied) return copied;
  const auto ram_done = Clock::now();
  if (auto written = write_records(); !written) return written;
  report.copy_us = us_since(start, ram_done);
  report.device_us = us_since(ram_done, Clock::now());
  report.pages = writer.pages();
  report.zero_pages = writer.zero_pages();
  return {};
}

Status Source::finish_state(CheckpointSink& sink, CaptureReport& report) {
  const auto from = Clock::now();
  if (facts_.device_model())
    if (auto saved = model_.save(device_); !saved) return saved;
  const auto state = device_.bytes();
  const auto room = sink.space(state.size());
  if (room.size() < state.size()) return fail(Errc::exhausted, "the buffer for a checkpoint is full");
  std::ranges::copy(state, room.begin());
  sink.advance(state.size());
  sink.device_state(room.first(state.size()));
  report.device_us += us_since(from, Clock::now());
  report.device_bytes = state.size();
  return {};
}

Status Source::write_records() {
  device_.clear();
  device_.begin(Section::records);
  auto written = paravirtual() ? pv_.write(device_) : hvm_.write(device_);
  if (!written) return written;
  device_.end();
  copier_->write_types(device_);
  return {};
}

Status Source::check_unchanged() {
  const auto state = domain_state(*handles_, facts_.domid);
  if (!state) return fail(Errc::closed, title() + " is gone");
  if (state->pages != mapped_pages_ || (paravirtual() && pv_.p2m_changed()))
    return fail(
        Errc::io,
        fmt::format("{} has changed its memory map ({} pages, now {})", title(), mapped_pages_, state->pages),
        "it is synchronized anew");
  return {};
}

Error Source::abandon(Error error) {
  const bool model_lost = facts_.device_model() && model_.disconnected();
  if (auto left = detach(); !left)
    spdlog::warn("leaving {} after a failure: {}", title(), left.error().text());
  death_.look();
  if (!death_.alive()) return {Errc::closed, fmt::format("{} has ended ({})", title(), error.what), ""};
  // Whoever hears of this failure finds that the device model is dead, and need not guess.
  if (model_lost && death_.model_dead(model_death_patience))
    return {Errc::closed, fmt::format("the device model of {} has died", title()), ""};
  return error;
}

Status Source::detach() {
  following_ = false;
  model_.close();
  suspender_.close();
  log_.stop();
  copier_.reset();
  memory_.unmap();
  pv_.close();
  mark_.remove();
  return {};
}

}  // namespace

Result<std::unique_ptr<XenDomain>> attach_xen(std::string_view name_or_id, XenAttachOptions options) {
  auto handles = Handles::open();
  if (!handles) return std::unexpected(handles.error());
  auto domid = find_domain(**handles, name_or_id);
  if (!domid) return std::unexpected(domid.error());
  auto facts = inspect(**handles, *domid);
  if (!facts) return std::unexpected(facts.error());
  if (const auto reasons = objections(*facts, options); !reasons.empty())
    return fail(Errc::refused,
                fmt::format("domain '{}' cannot be protected: {}", name_or_id, fmt::join(reasons, "; ")));
  auto source = std::make_unique<Source>(*handles, std::move(options), std::move(*facts));
  if (auto attached = source->attach(); !attached) return std::unexpected(attached.error());
  return source;
}

}  // namespace remus::hypervisor::xen
