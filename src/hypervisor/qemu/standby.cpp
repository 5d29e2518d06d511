#include "hypervisor/qemu/standby.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <tuple>

#include "base/fault.hpp"
#include "hypervisor/child_process.hpp"
#include "hypervisor/qemu/activation_stream.hpp"
#include "hypervisor/qemu/image_files.hpp"
#include "hypervisor/qemu/inspect.hpp"
#include "hypervisor/qemu/standby_host.hpp"
#include "hypervisor/qemu/tap.hpp"

namespace remus::hypervisor::qemu {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto start_timeout = milliseconds{15'000};
constexpr auto activate_timeout = milliseconds{10'000};
constexpr int feed_buffer_bytes = 16 << 20;

class WaitingGuest final : public Standby {
 public:
  explicit WaitingGuest(StandbyOptions options)
      : options_{std::move(options)}, places_{places_of(options_)} {}

  ~WaitingGuest() override {
    if (record_.activated) return;
    if (auto done = discard(); !done)
      spdlog::warn("discarding the standby of {}: {}", options_.name, done.error().text());
  }

  Status build(const GuestDescription& guest) override {
    if (auto gone = discard(); !gone) return gone;
    auto built = build_steps(guest);
    if (!built) return std::unexpected(given_up(built.error()));
    built_for_ = guest.details;
    return {};
  }

  Result<StandbyMemory> prepare(const GuestDescription& guest, const checkpoint::Layout& layout) override {
    const bool fresh = built_ && mappings_.empty() && guest.details == built_for_ && healthy();
    if (!fresh)
      if (auto built = build(guest); !built) return std::unexpected(built.error());
    if (auto fits = check_layout(layout); !fits) return std::unexpected(given_up(fits.error()));
    auto memory = map(layout);
    if (!memory) return std::unexpected(given_up(memory.error()));
    return memory;
  }

  Result<ActivationReport> activate(std::span<const std::byte> device_state) override;

  Status discard() override {
    if (!built_) return {};
    qmp_.reset();
    feed_.reset();
    mappings_.clear();
    memory_ = {};
    if (auto killed = process_.kill(); !killed) return killed;
    Status given = give_back(record_, places_);
    if (given) built_ = false;
    record_ = {};
    return given;
  }

  // Not asked for an answer: a waiting QEMU on a busy host is slow, and throwing it away would cost the
  // protection.
  bool healthy() override { return process_.running() && (qmp_ ? !qmp_->closed() : record_.activated); }

  nlohmann::json handle() const override {
    return {{"qmp", places_.qmp.native()}, {"pid", process_.pid()}, {"log", places_.log.native()}};
  }

 private:
  Status build_steps(const GuestDescription& guest);
  Error given_up(const Error& why) {
    // Before the record was ours nothing had been taken.
    std::ignore = discard();
    return why.in(fmt::format("preparing the standby of {}", options_.name));
  }
  Status clear_leftover();
  Status check_layout(const checkpoint::Layout& layout) const;
  Status make_images();
  Status make_taps();
  Status start(const fs::path& binary, const std::vector<std::string>& arguments);
  Status connect();
  Status open_feed();
  Result<StandbyMemory> map(const checkpoint::Layout& layout);
  Status feed(std::span<const std::byte> stream);
  Error died(std::string_view what) const {
    return {Errc::io, fmt::format("{}; its QEMU says: {}", what, log_tail(places_.log)), ""};
  }

  StandbyOptions options_;
  StandbyPlaces places_;
  bool built_{false};  ///< something of this host has been taken
  nlohmann::json built_for_{};
  GuestFacts facts_{};
  StandbyRecord record_{};
  ChildProcess process_{};
  std::shared_ptr<Qmp> qmp_{};
  Fd feed_{};
  std::vector<Mapping> mappings_{};
  StandbyMemory memory_{};
};

Status WaitingGuest::build_steps(const GuestDescription& guest) {
  if (guest.hypervisor != "qemu")
    return fail(Errc::incompatible, fmt::format("the guest runs on '{}', not on QEMU", guest.hypervisor));
  auto facts = facts_from_json(guest.details);
  if (!facts) return std::unexpected(facts.error());
  facts_ = std::move(*facts);
  // First all that only looks, so that a host that cannot serve is left as it was.
  auto binary = choose_binary(options_, facts_);
  if (!binary) return std::unexpected(binary.error());
  StandbyPaths paths{places_.image, places_.runtime, places_.qmp, {}, {}};
  for (const auto& [name, replica] : options_.replicas) {
    const Disk* disk = find_disk(facts_, name);
    if (disk == nullptr) return fail(Errc::corrupt, fmt::format("the guest has no disk '{}'", name));
    paths.replicas[disk->device] = replica;
  }
  for (const auto& net : facts_.netdevs) paths.taps[net.id] = tap_name_for(options_, net.id);
  const DerivedCommandLine line = derive_command_line(facts_, paths);
  if (!line.objections.empty())
    return fail(Errc::refused,
                fmt::format("no standby can be made of this guest: {}", fmt::join(line.objections, "; ")));
  if (auto checked = check_files(line.files, guest.details.value("files", nlohmann::json::object()));
      !checked)
    return std::unexpected(checked.error());
  if (auto cleared = clear_leftover(); !cleared) return std::unexpected(cleared.error());
  for (const auto& text : line.notes) spdlog::info("standby of {}: {}", options_.name, text);

  for (const auto& directory : {places_.runtime, places_.image})
    if (auto made = make_private_directory(directory); !made) return std::unexpected(made.error());
  built_ = true;
  record_.qmp = places_.qmp;
  record_.image_dir = places_.image;
  for (const auto& net : facts_.netdevs)
    if (net.type == "tap" || net.type == "bridge")
      if (!interface_exists(paths.taps[net.id])) record_.taps.push_back(paths.taps[net.id]);
  if (auto saved = save_record(places_.record, record_); !saved) return std::unexpected(saved.error());
  if (auto made = make_images(); !made) return std::unexpected(made.error());
  if (auto made = make_taps(); !made) return std::unexpected(made.error());
  if (auto started = start(*binary, line.arguments); !started) return std::unexpected(started.error());
  if (auto connected = connect(); !connected) return std::unexpected(connected.error());
  return open_feed();
}

Status WaitingGuest::clear_leftover() {
  auto leftover = find_standby(options_);
  if (!leftover) {
    if (leftover.error().kind == Errc::not_found) return {};
    return std::unexpected(leftover.error());
  }
  if (leftover->running && leftover->activated)
    return fail(
        Errc::refused,
        fmt::format("guest '{}' already runs on this host (process {})", options_.name, leftover->pid),
        "protect it from here to the other host instead, or end it first");
  return discard_standby(options_);
}

Status WaitingGuest::check_layout(const checkpoint::Layout& layout) const {
  for (const MemoryBackend& backend : facts_.memory) {
    const auto block = std::ranges::find(layout.blocks, backend.ramblock, &checkpoint::Block::name);
    if (block == layout.blocks.end() || block->bytes != backend.bytes)
      return fail(Errc::incompatible,
                  fmt::format("the guest's memory '{}' ({} bytes) is not in what is synchronized",
                              backend.ramblock, backend.bytes));
  }
  return {};
}

Status WaitingGuest::make_images() {
  std::uint64_t total = 0;
  for (const MemoryBackend& backend : facts_.memory) total += backend.bytes;
  if (auto room = check_room(places_.image, total); !room) return room;
  for (const MemoryBackend& backend : facts_.memory)
    if (auto made = create_image_file(places_.image / image_file_name(backend.id), backend.bytes); !made)
      return made;
  return {};
}

Status WaitingGuest::make_taps() {
  for (const auto& net : facts_.netdevs) {
    if (net.type != "tap" && net.type != "bridge") continue;
    const auto mapped = options_.bridges.find(net.bridge);
    const std::string& bridge = mapped == options_.bridges.end() ? net.bridge : mapped->second;
    if (auto made = create_tap(tap_name_for(options_, net.id), bridge); !made) return made;
  }
  return {};
}

Status WaitingGuest::start(const fs::path& binary, const std::vector<std::string>& arguments) {
  std::error_code code;
  fs::remove(places_.qmp, code);
  const fs::path directory =
      fs::is_directory(facts_.directory, code) ? fs::path{facts_.directory} : fs::path{"/"};
  auto process = ChildProcess::spawn({binary, arguments, options_.environment, directory, places_.log});
  if (!process) return std::unexpected(process.error());
  process_ = std::move(*process);
  record_.pid = process_.pid();
  record_.start_time = process_.start_time();
  return save_record(places_.record, record_);
}

Status WaitingGuest::connect() {
  const auto deadline = Clock::now() + start_timeout;
  for (;;) {
    auto connected = Qmp::connect(places_.qmp);
    if (connected) {
      qmp_ = std::move(*connected);
      const Version& here = qmp_->version();
      if (here.triple() == facts_.version.triple()) return {};
      return fail(Errc::incompatible,
                  fmt::format("the primary runs QEMU {}, but what was started here is {}",
                              facts_.version.text(), here.text()),
                  "install the same version of QEMU on both hosts");
    }
    if (!process_.running())
      return fail(Errc::incompatible,
                  fmt::format("this host's QEMU does not start the guest: {}", log_tail(places_.log)),
                  "give this host what is missing there, or protect the guest to another host");
    if (Clock::now() >= deadline) return std::unexpected(connected.error());
    std::this_thread::sleep_for(milliseconds{5});
  }
}

/// Lets QEMU wait for its state on a socket pair: if this process dies, so does the waiting QEMU, by end of
/// file.
Status WaitingGuest::open_feed() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return fail_errno(errno, "cannot create a socket pair");
  feed_.reset(ends[0]);
  const Fd theirs{ends[1]};
  if (::setsockopt(feed_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &feed_buffer_bytes, sizeof feed_buffer_bytes) !=
      0)
    static_cast<void>(
        ::setsockopt(feed_.get(), SOL_SOCKET, SO_SNDBUF, &feed_buffer_bytes, sizeof feed_buffer_bytes));
  const nlohmann::json capability{{"capability", "x-ignore-shared"}, {"state", true}};
  if (auto set =
          qmp_->execute("migrate-set-capabilities", {{"capabilities", nlohmann::json::array({capability})}});
      !set)
    return fail(Errc::unsupported,
                fmt::format("this QEMU cannot take over shared memory: {}", set.error().what));
  if (auto given = qmp_->send_fd("remus-feed", theirs.get()); !given) return given;
  if (auto waits = qmp_->execute("migrate-incoming", {{"uri", "fd:remus-feed"}}); !waits)
    return std::unexpected(waits.error());
  return {};
}

Result<StandbyMemory> WaitingGuest::map(const checkpoint::Layout& layout) {
  memory_.layout = layout;
  for (const auto& block : layout.blocks) {
    const auto backend = std::ranges::find(facts_.memory, block.name, &MemoryBackend::ramblock);
    auto mapping = backend == facts_.memory.end()
                       ? Mapping::anonymous(block.bytes)
                       : Mapping::of_file(places_.image / image_file_name(backend->id), block.bytes);
    if (!mapping) return std::unexpected(mapping.error());
    memory_.blocks.push_back(mapping->span());
    mappings_.push_back(std::move(*mapping));
  }
  return memory_;
}

Status WaitingGuest::feed(std::span<const std::byte> stream) {
  const auto deadline = Clock::now() + activate_timeout;
  while (!stream.empty()) {
    const ssize_t sent = ::send(feed_.get(), stream.data(), stream.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      stream = stream.subspan(static_cast<std::size_t>(sent));
    } else if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
      pollfd ready{feed_.get(), POLLOUT, 0};
      if (::poll(&ready, 1, 100) == 0 && Clock::now() >= deadline)
        return fail(Errc::timeout, "the waiting QEMU does not take its state");
    } else {
      return std::unexpected(died("the waiting QEMU refused its state"));
    }
  }
  return {};
}

/// Whether the guest runs, told by QEMU's RESUME event. The flag is shared with the callback, which may be
/// running while this ends.
class Resumed final {
 public:
  explicit Resumed(Qmp& qmp)
      : subscription_{qmp.subscribe([flag = flag_](const Event& event) {
          if (event.name != "RESUME") return;
          const std::lock_guard lock{flag->mutex};
          flag->resumed = true;
          flag->changed.notify_all();
        })} {}

  bool wait(milliseconds time) {
    std::unique_lock lock{flag_->mutex};
    return flag_->changed.wait_for(lock, time, [this] { return flag_->resumed; });
  }

 private:
  struct Flag {
    std::mutex mutex{};
    std::condition_variable changed{};
    bool resumed{false};
  };
  std::shared_ptr<Flag> flag_{std::make_shared<Flag>()};
  std::shared_ptr<void> subscription_;
};

Result<ActivationReport> WaitingGuest::activate(std::span<const std::byte> device_state) {
  const auto begin = Clock::now();
  if (!built_ || !qmp_) return fail(Errc::internal, "activate() of a standby that is not prepared");
  if (record_.activated) return fail(Errc::internal, "activate() twice");
  auto blob = parse_blob(device_state);
  if (!blob) return std::unexpected(blob.error());
  auto stream = activation_stream(*blob, memory_, facts_.memory);
  if (!stream) return std::unexpected(stream.error());
  for (const auto& net : facts_.netdevs)
    if (net.type == "tap" || net.type == "bridge")
      if (auto up = set_tap_up(tap_name_for(options_, net.id)); !up) return std::unexpected(up.error());
  Resumed resumed{*qmp_};
  // From here on it may run at any moment: whoever finds this record must not kill it.
  record_.activated = true;
  if (auto saved = save_record(places_.record, record_); !saved) return std::unexpected(saved.error());
  REMUS_FAULT_POINT("activate.feeding");
  if (auto fed = feed(*stream); !fed) {
    record_.activated = false;
    return std::unexpected(fed.error());
  }
  const auto deadline = begin + activate_timeout;
  while (!resumed.wait(milliseconds{20})) {
    auto status = qmp_->execute("query-status");
    if (status && status->value("running", false)) break;
    if (!process_.running() || Clock::now() >= deadline) {
      record_.activated = false;
      return std::unexpected(died("the guest does not run after its state was fed"));
    }
  }
  const ActivationReport report{static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin).count())};
  REMUS_FAULT_POINT("activate.running");
  // Bridges and switches learn where the guest's addresses live now.
  const nlohmann::json rounds{{"initial", 20}, {"max", 550}, {"rounds", 8}, {"step", 70}};
  if (auto told = qmp_->execute("announce-self", rounds); !told)
    spdlog::warn("announcing {} to the network: {}", options_.name, told.error().text());
  // Its memory lives as long as its process; nothing else may open it, and nothing is left when it ends.
  mappings_.clear();
  memory_ = {};
  std::error_code code;
  fs::remove_all(places_.image, code);
  feed_.reset();
  qmp_->close();  // free for whoever manages the guest from now on
  qmp_.reset();
  return report;
}

}  // namespace

std::unique_ptr<Standby> make_qemu_standby(StandbyOptions options) {
  return std::make_unique<WaitingGuest>(std::move(options));
}

Result<StandbyLeftover> find_standby(const StandbyOptions& options) {
  auto record = load_record(places_of(options).record);
  if (!record) return std::unexpected(record.error());
  const std::optional<StandbyRecord>& maybe = *record;
  if (!maybe) return fail(Errc::not_found, fmt::format("no standby of '{}' was left here", options.name));
  const StandbyRecord& found = *maybe;
  StandbyLeftover out{false, found.activated, found.pid, found.qmp};
  out.running = ChildProcess::adopt(found.pid, found.start_time).has_value();
  if (!out.running || out.activated) return out;
  // Its guard may have died between feeding it and saying so: QEMU itself knows. If it does not answer, it
  // may run.
  out.activated = true;
  if (auto qmp = Qmp::connect(found.qmp))
    if (auto status = (*qmp)->execute("query-status"))
      out.activated = status->value("status", "") != "inmigrate";
  if (out.activated) out.running = ChildProcess::adopt(found.pid, found.start_time).has_value();
  return out;
}

Status discard_standby(const StandbyOptions& options) {
  const StandbyPlaces places = places_of(options);
  auto record = load_record(places.record);
  if (!record) return std::unexpected(record.error());
  const std::optional<StandbyRecord>& maybe = *record;
  if (!maybe) return {};
  auto leftover = find_standby(options);
  if (leftover && leftover->running && leftover->activated)
    return fail(Errc::refused,
                fmt::format("the standby of '{}' runs the guest: it is not discarded", options.name));
  return give_back(*maybe, places);
}

}  // namespace remus::hypervisor::qemu
