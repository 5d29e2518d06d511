#include "hypervisor/qemu/domain.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>

#include "base/fault.hpp"
#include "hypervisor/qemu/colo_channel.hpp"
#include "hypervisor/qemu/command_line.hpp"
#include "hypervisor/qemu/flush_ahead.hpp"
#include "hypervisor/qemu/guest_disks.hpp"
#include "hypervisor/qemu/guest_memory.hpp"
#include "hypervisor/qemu/inspect.hpp"
#include "hypervisor/qemu/migration_control.hpp"
#include "hypervisor/qemu/pause_watch.hpp"
#include "hypervisor/qemu/standby_host.hpp"
#include "hypervisor/qemu/stream_parser.hpp"

namespace remus::hypervisor::qemu {

namespace {

using Clock = std::chrono::steady_clock;

// A guest that dirties memory faster than the link carries it must be paused for longer at the end: each time
// another guest's worth of bytes has been sent, QEMU may pause it for twice as long, up to the limit.
constexpr std::uint64_t downtime_first_ms = 50;
constexpr std::uint64_t downtime_last_ms = 1600;
constexpr std::uint64_t rounds_max = 40;
constexpr auto shut_delay = std::chrono::milliseconds{20};

std::uint64_t us_since(Clock::time_point start, Clock::time_point end) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(end - start).count());
}

class Source final : public QemuDomain {
 public:
  Source(std::shared_ptr<Qmp> qmp, AttachOptions options, GuestFacts facts, const nlohmann::json& files,
         GuestMemory memory, Fd process)
      : qmp_{std::move(qmp)},
        options_{std::move(options)},
        facts_{std::move(facts)},
        memory_{std::move(memory)},
        process_{std::move(process)},
        control_{*qmp_},
        watch_{*qmp_},
        flush_{facts_.pid, facts_.directory, facts_.disks} {
    description_ = {"qemu", facts_.version.text(), facts_.memory_bytes, to_json(facts_), {}};
    description_.details["files"] = files;
    for (const auto& [name, disk] : Source::replicated_disks())
      description_.disks.push_back(describe(name, disk));
  }

  ~Source() override {
    if (state_ != State::detached)
      if (auto done = detach(); !done) spdlog::warn("leaving the guest: {}", done.error().text());
  }

  const GuestDescription& description() const override { return description_; }
  pid_t pid() const override { return facts_.pid; }
  void set_pause_hooks(PauseHooks hooks) override { hooks_ = std::move(hooks); }

  std::vector<std::string> netdevs() const override {
    std::vector<std::string> out;
    out.reserve(facts_.netdevs.size());
    for (const auto& net : facts_.netdevs) out.push_back(net.id);
    return out;
  }

  std::vector<std::pair<std::string, Disk>> replicated_disks() const override {
    std::vector<std::pair<std::string, Disk>> out;
    for (const auto& name : options_.disks)
      if (const Disk* disk = find_disk(facts_, name)) out.emplace_back(name, *disk);
    return out;
  }

  Result<CaptureReport> synchronize(checkpoint::CheckpointSink& sink,
                                    const std::function<void(SyncProgress)>& progress) override;
  Status ready() override;
  Result<CaptureReport> capture(checkpoint::Epoch epoch, checkpoint::CheckpointSink& sink) override;
  Status detach() override;
  void interrupt() override { channel_.interrupt(); }

  bool alive() const override {
    pollfd ended{process_.get(), POLLIN, 0};
    return ::poll(&ended, 1, 0) == 0;
  }

  Status read_memory(checkpoint::PageIndex from, const MemoryVisit& visit) override {
    return memory_.visit(parser_.layout(), from, visit);
  }

 private:
  enum class State { detached, running, asking };  ///< asking: QEMU waits for our REPLY

  Result<CaptureReport> synchronize_steps(checkpoint::CheckpointSink& sink,
                                          const std::function<void(SyncProgress)>& progress);
  Result<CaptureReport> capture_steps(checkpoint::CheckpointSink& sink);
  /// The guest must not stay paused for our failure: leaves COLO at once.
  Error abandon(Error error);

  std::shared_ptr<Qmp> qmp_;
  AttachOptions options_;
  GuestFacts facts_;
  GuestMemory memory_;
  Fd process_;  ///< pidfd
  MigrationControl control_;
  PauseWatch watch_;
  FlushAhead flush_;
  GuestDescription description_{};
  ColoChannel channel_{};
  StreamParser parser_{};
  PauseHooks hooks_{};
  State state_{State::detached};
};

Result<CaptureReport> Source::synchronize(checkpoint::CheckpointSink& sink,
                                          const std::function<void(SyncProgress)>& progress) {
  if (state_ != State::detached) return fail(Errc::internal, "synchronize() without detach() before it");
  channel_.reset_interrupt();
  auto report = synchronize_steps(sink, progress);
  if (!report) return std::unexpected(abandon(report.error()));
  return report;
}

Result<CaptureReport> Source::synchronize_steps(checkpoint::CheckpointSink& sink,
                                                const std::function<void(SyncProgress)>& progress) {
  if (auto opened = channel_.open(); !opened) return std::unexpected(opened.error());
  channel_.set_patience(options_.stream_timeout);
  state_ = State::running;
  static_cast<void>(flush_.run());
  if (auto prepared = control_.prepare(); !prepared) return std::unexpected(prepared.error());
  watch_.asked();
  if (auto started = control_.start(channel_.qemu_end()); !started) return std::unexpected(started.error());
  channel_.close_qemu_end();

  std::optional<Clock::time_point> paused;
  Clock::time_point ram_done{};
  Status steps{};
  std::uint64_t rounds = 0;
  StreamHooks hooks;
  hooks.paused = [&] {
    paused = Clock::now();
    watch_.stopped();
    REMUS_FAULT_POINT("sync.paused");
    sink.paused();
  };
  hooks.ram_done = [&] { ram_done = Clock::now(); };
  hooks.ping = [&](std::uint32_t value) {
    if (auto sent = channel_.send_pong(value); !sent) steps = sent;
  };
  std::uint64_t sent_bytes = 0;
  hooks.progress = [&](SyncProgress now) {
    if (progress) progress(now);
    if (paused || now.total_bytes == 0 || now.done_bytes < now.total_bytes) return;
    // done_bytes stays at the total once everything has been sent once; what follows are repetitions.
    sent_bytes += 8ULL << 20;
    if (sent_bytes < now.total_bytes * (rounds + 1)) return;
    ++rounds;
    const std::uint64_t limit =
        std::min(downtime_first_ms << std::min<std::uint64_t>(rounds, 16), downtime_last_ms);
    if (auto set = control_.set_downtime_limit(limit); !set) steps = set;
    if (rounds >= rounds_max) {
      steps = fail(Errc::timeout, "the guest writes memory faster than it can be carried to the backup",
                   "use a faster link, or calm the guest while it is synchronized");
      channel_.interrupt();
    }
  };
  auto counts = parser_.initial(channel_, sink, hooks);
  if (!counts || !steps) return std::unexpected(steps ? counts.error() : steps.error());
  REMUS_FAULT_POINT("sync.captured");
  const auto device_done = Clock::now();
  if (facts_.version.at_least(11)) {
    if (auto sent = channel_.send_shut(); !sent) return std::unexpected(sent.error());
    ::usleep(static_cast<useconds_t>(std::chrono::microseconds{shut_delay}.count()));
  }
  if (hooks_.resuming)
    if (auto may = hooks_.resuming(); !may) return std::unexpected(may.error());
  auto resumed = channel_.send({ColoMessage::checkpoint_ready});
  watch_.released();
  if (hooks_.after) hooks_.after();
  if (!resumed) {
    // A QEMU with broken COLO has closed the stream by now: its own words explain it better than ours.
    if (auto colo = control_.await_colo(); !colo) return std::unexpected(colo.error());
    return std::unexpected(resumed.error());
  }
  if (auto colo = control_.await_colo(); !colo) return std::unexpected(colo.error());
  if (!paused) return fail(Errc::internal, "the synchronization ended without a pause");
  const auto times = watch_.times();
  return CaptureReport{.pause_us = times.pause_us,
                       .drain_us = times.drain_us,
                       .copy_us = us_since(*paused, ram_done),
                       .device_us = us_since(ram_done, device_done),
                       .pages = counts->pages,
                       .zero_pages = counts->zero_pages,
                       .device_bytes = counts->device_bytes};
}

Status Source::ready() {
  if (state_ == State::asking) return {};
  if (state_ != State::running) return fail(Errc::closed, "the guest is not being checkpointed");
  channel_.set_patience(options_.ready_timeout);
  auto asked = channel_.expect(ColoMessage::checkpoint_request);
  channel_.set_patience(options_.stream_timeout);
  if (!asked) return std::unexpected(abandon(asked.error().in("waiting for QEMU to offer a checkpoint")));
  state_ = State::asking;
  return {};
}

Result<CaptureReport> Source::capture(checkpoint::Epoch epoch, checkpoint::CheckpointSink& sink) {
  if (auto asked = ready(); !asked) return std::unexpected(asked.error());
  static_cast<void>(flush_.run());
  if (hooks_.before) hooks_.before();
  auto report = capture_steps(sink);
  if (!report) {
    Error error = abandon(report.error().in(fmt::format("capturing epoch {}", epoch)));
    if (hooks_.after) hooks_.after();
    return std::unexpected(std::move(error));
  }
  if (hooks_.after) hooks_.after();
  const auto times = watch_.times();
  report->pause_us = times.pause_us;
  report->stop_us = times.stop_us;
  report->drain_us = times.drain_us;
  return report;
}

/// Without the times of the standstill: those are known when the guest runs again.
Result<CaptureReport> Source::capture_steps(checkpoint::CheckpointSink& sink) {
  REMUS_FAULT_POINT("capture.before");
  watch_.asked();
  if (auto sent = channel_.send({ColoMessage::checkpoint_reply}); !sent) return std::unexpected(sent.error());
  if (auto stopped = channel_.expect(ColoMessage::vmstate_send); !stopped)
    return std::unexpected(stopped.error());
  watch_.stopped();
  REMUS_FAULT_POINT("capture.paused");
  sink.paused();
  const auto marked = Clock::now();
  Clock::time_point ram_done{};
  StreamHooks hooks;
  hooks.ram_done = [&] { ram_done = Clock::now(); };
  auto counts = parser_.checkpoint(channel_, sink, hooks);
  if (!counts) return std::unexpected(counts.error());
  const auto device_done = Clock::now();
  REMUS_FAULT_POINT("capture.captured");
  if (hooks_.resuming)
    if (auto may = hooks_.resuming(); !may) return std::unexpected(may.error());
  auto resumed = channel_.send({ColoMessage::vmstate_received, ColoMessage::vmstate_loaded});
  if (!resumed) return std::unexpected(resumed.error());
  watch_.released();
  state_ = State::running;
  REMUS_FAULT_POINT("capture.resumed");
  return CaptureReport{.copy_us = us_since(marked, ram_done),
                       .device_us = us_since(ram_done, device_done),
                       .pages = counts->pages,
                       .zero_pages = counts->zero_pages,
                       .device_bytes = counts->device_bytes};
}

Error Source::abandon(Error error) {
  // First the guest, then the tidying: QEMU must hear of it before its socket is torn down under it.
  if (auto left = control_.leave(); !left && left.error().kind != Errc::closed)
    spdlog::warn("leaving the guest after a failure: {}", left.error().text());
  channel_.close();
  state_ = State::detached;
  // A dying process closes its sockets a moment before it is gone.
  pollfd ended{process_.get(), POLLIN, 0};
  const bool gone = ::poll(&ended, 1, qmp_->closed() ? 500 : 0) != 0;
  if (gone) return {Errc::closed, "the guest's process has ended", ""};
  return error;
}

Status Source::detach() {
  if (state_ == State::detached) return {};
  state_ = State::detached;
  // Leaving COLO stops the guest for a moment, too.
  if (hooks_.before) hooks_.before();
  Status left = control_.leave();
  if (hooks_.after) hooks_.after();
  channel_.close();
  if (!left && left.error().kind == Errc::closed) return {};  // no guest, nothing to leave
  return left;
}

}  // namespace

Result<std::unique_ptr<QemuDomain>> attach_qemu(std::shared_ptr<Qmp> qmp, AttachOptions options) {
  auto facts = inspect(*qmp);
  if (!facts) return std::unexpected(facts.error());
  std::vector<std::string> reasons = objections(*facts, options.disks, options.elsewhere);
  StandbyPaths paths;
  for (const auto& net : facts->netdevs) paths.taps[net.id] = "tap";
  // Where the replicas are is the backup's to know; that they can stand for the images is known here.
  for (const auto& name : options.disks)
    if (const Disk* disk = find_disk(*facts, name)) paths.replicas[disk->device] = {"/replica", false};
  DerivedCommandLine line = derive_command_line(*facts, paths);
  for (auto& objection : line.objections) reasons.push_back(std::move(objection));
  if (!reasons.empty())
    return fail(Errc::refused, fmt::format("this guest cannot be protected: {}", fmt::join(reasons, "; ")));
  Fd process{static_cast<int>(::syscall(SYS_pidfd_open, facts->pid, 0))};
  if (!process) return fail_errno(errno, fmt::format("cannot watch QEMU's process {}", facts->pid));
  auto memory = GuestMemory::locate(*qmp, *facts);
  if (!memory) return std::unexpected(memory.error());
  return std::make_unique<Source>(std::move(qmp), std::move(options), std::move(*facts),
                                  describe_files(line.files), std::move(*memory), std::move(process));
}

}  // namespace remus::hypervisor::qemu
