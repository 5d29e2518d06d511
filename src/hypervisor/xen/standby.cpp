#include "hypervisor/xen/standby.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <thread>
#include <tuple>

#include "base/fault.hpp"
#include "hypervisor/xen/activation_fate.hpp"
#include "hypervisor/xen/incoming_memory.hpp"
#include "hypervisor/xen/restore_process.hpp"
#include "hypervisor/xen/standby_host.hpp"
#include "hypervisor/xen/typed_pages.hpp"

namespace remus::hypervisor::xen {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A vif's hotplug script may take 40 s, libxl says.
constexpr auto create_within = milliseconds{100'000};
constexpr auto feed_within = milliseconds{60'000};
constexpr auto populate_within_per_page = std::chrono::microseconds{500};
// libxl itself gives a device's hotplug script 40 s, and a device model 60 s.
constexpr auto restore_within = milliseconds{150'000};
constexpr auto run_within = milliseconds{10'000};
constexpr auto abandon_within = milliseconds{30'000};
constexpr std::size_t pages_per_record = 16384;

std::uint64_t us_between(Clock::time_point from, Clock::time_point to) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(to - from).count());
}

class WaitingDomain final : public Standby {
 public:
  WaitingDomain(XenStandbyOptions options, fs::path program)
      : options_{std::move(options)}, places_{places_of(options_)}, program_{std::move(program)} {}

  ~WaitingDomain() override {
    if (record_.activated) {
      process_.let_go();
      return;
    }
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
    const bool fresh = built_ && !memory_.mapped() && guest.details == built_for_ && healthy();
    if (!fresh)
      if (auto built = build(guest); !built) return std::unexpected(built.error());
    if (auto populated = populate(layout); !populated) return std::unexpected(given_up(populated.error()));
    return StandbyMemory{layout, memory_.blocks()};
  }

  Result<ActivationReport> activate(std::span<const std::byte> device_state) override;

  Status discard() override {
    if (!built_ || record_.activated) return {};
    unmapping_ = {};
    memory_.unmap();
    end_process();
    Status given = give_back(program_, record_, places_);
    if (given) built_ = false;
    record_ = {};
    return given;
  }

  bool healthy() override { return process_.running() && (record_.activated || !process_.spoke()); }

  nlohmann::json handle() const override { return {{"domain", options_.name}, {"domid", record_.domid}}; }

 private:
  Status build_steps(const GuestDescription& guest);
  Status clear_leftover();
  Status write_config(const nlohmann::json& config) const;
  Status populate(const checkpoint::Layout& layout);
  Status feed_activation(const DeviceState& state);
  /// Before the whole stream was out: the domain cannot have run.
  std::unexpected<Error> given_up_activation(const Error& why);
  /// After that. Success if it runs all the same.
  Status after_failure(Error why);
  /// Cuts the stream: libxl destroys what it has made, and the process ends.
  void end_process() {
    process_.let_go();
    const auto deadline = Clock::now() + abandon_within;
    while (process_.running() && Clock::now() < deadline) std::this_thread::sleep_for(milliseconds{5});
    std::ignore = process_.process().kill();
    process_ = {};
  }
  Error given_up(const Error& why) {
    std::ignore = discard();
    return why.in(fmt::format("preparing the standby of {}", options_.name));
  }

  XenStandbyOptions options_;
  StandbyPlaces places_;
  fs::path program_;
  bool built_{false};  ///< something of this host has been taken
  nlohmann::json built_for_{};
  StandbyFacts facts_{};
  StandbyRecord record_{};
  RestoreProcess process_{};
  IncomingMemory memory_{};
  std::jthread unmapping_{};
};

Status WaitingDomain::build_steps(const GuestDescription& guest) {
  auto facts = read_standby_facts(guest);
  if (!facts) return std::unexpected(facts.error());
  facts_ = std::move(*facts);
  if (auto cleared = clear_leftover(); !cleared) return std::unexpected(cleared.error());
  const auto config = config_for_this_host(facts_, options_.name + std::string{incoming_suffix},
                                           options_.bridges, options_.replicas);
  if (!config) return std::unexpected(config.error());
  built_ = true;
  if (auto written = write_config(*config); !written) return written;
  if (auto fits = check_host(program_, places_, options_.name, facts_, *config); !fits) return fits;

  // Before anything is made, so that whatever is made can be found by its identity.
  record_.uuid = facts_.uuid;
  if (auto saved = save_record(places_.record, record_); !saved) return saved;
  auto process = RestoreProcess::start(program_, places_.config, options_.name, places_.log);
  if (!process) return std::unexpected(process.error());
  process_ = std::move(*process);
  record_.pid = process_.process().pid();
  record_.start_time = process_.process().start_time();
  if (auto saved = save_record(places_.record, record_); !saved) return saved;
  auto made = process_.await("made", create_within);
  if (!made) return std::unexpected(made.error());
  record_.domid = static_cast<std::uint32_t>(std::strtoul(made->c_str(), nullptr, 10));
  if (auto saved = save_record(places_.record, record_); !saved) return saved;
  REMUS_FAULT_POINT("standby.made");
  if (auto created = process_.await("created", create_within); !created)
    return std::unexpected(created.error());
  if (auto fed = process_.feed(stream_opening(facts_.pv, facts_.version, facts_.static_records), feed_within);
      !fed)
    return fed;
  // The static records are checked against this host's processors: a refusal belongs here, not in prepare().
  if (auto fed = process_.feed(stream_fence(), feed_within); !fed) return fed;
  return process_.drained(feed_within);
}

Status WaitingDomain::clear_leftover() {
  auto leftover = find_xen_standby(options_);
  if (!leftover) {
    if (leftover.error().kind == Errc::not_found) return {};
    return std::unexpected(leftover.error());
  }
  if (leftover->running && leftover->activated)
    return fail(
        Errc::refused,
        fmt::format("guest '{}' already runs on this host (domain {})", options_.name, leftover->domid),
        "protect it from here to the other host instead, or end it first");
  return discard_xen_standby(options_);
}

Status WaitingDomain::write_config(const nlohmann::json& config) const {
  std::error_code code;
  fs::create_directories(places_.directory, code);
  if (!code) fs::permissions(places_.directory, fs::perms::owner_all, code);
  if (code)
    return fail_errno(code.value(), fmt::format("cannot make directory {}", places_.directory.native()));
  std::ofstream out{places_.config, std::ios::trunc};
  out << config.dump(2) << '\n';
  out.flush();
  if (!out) return fail_errno(errno, fmt::format("cannot write {}", places_.config.native()));
  return {};
}

Status WaitingDomain::populate(const checkpoint::Layout& layout) {
  std::vector<std::uint64_t> pfns;
  pfns.reserve(layout.pages());
  std::uint64_t last = 0;
  for (const checkpoint::Block& block : layout.blocks) {
    auto first = first_pfn_of(block);
    if (!first) return std::unexpected(first.error());
    for (std::uint64_t pfn = *first; pfn < *first + block.pages(); ++pfn)
      pfns.push_back(facts_.pv ? pfn : coded_pfn(pfn, page_type::alloc));
    last = std::max(last, *first + block.pages() - 1);
  }
  if (pfns.empty()) return fail(Errc::corrupt, "the guest has no memory");
  if (facts_.pv)
    if (auto bound = missing_p2m_bound(facts_.static_records, last); !bound.empty())
      if (auto fed = process_.feed(bound, feed_within); !fed) return fed;

  const auto within = feed_within + std::chrono::ceil<milliseconds>(populate_within_per_page * pfns.size());
  // PV pages come with contents (restore_stream.hpp says why): zeros, a mebibyte at a time.
  const std::vector<std::byte> zeros(facts_.pv ? std::size_t{1} << 20 : 0);
  const std::size_t batch = facts_.pv ? zeros.size() / checkpoint::page_bytes : pages_per_record;
  for (std::size_t done = 0; done < pfns.size(); done += batch) {
    const auto now = std::span{pfns}.subspan(done, std::min(batch, pfns.size() - done));
    const std::size_t contents = facts_.pv ? now.size() : 0;
    if (auto fed = process_.feed(page_data_head(now, contents), within); !fed) return fed;
    if (auto fed = process_.feed(std::span{zeros}.first(contents * checkpoint::page_bytes), within); !fed)
      return fed;
  }
  if (auto fed = process_.feed(stream_fence(), within); !fed) return fed;
  if (auto taken = process_.drained(within); !taken) return taken;
  return memory_.map(record_.domid, facts_.pv, layout);
}

Status WaitingDomain::feed_activation(const DeviceState& state) {
  if (facts_.pv) {
    auto tables = typed_pages(state, memory_);
    if (!tables) return std::unexpected(tables.error());
    // While they are taken in, our own mappings go: Xen pins no page table that somebody else can write to.
    unmapping_ = std::jthread{[this] { memory_.unmap(); }};
    for (const auto& record : *tables)
      if (auto fed = process_.feed(record, feed_within); !fed) return fed;
    unmapping_.join();
  }
  return process_.feed(stream_closing(state), feed_within);
}

std::unexpected<Error> WaitingDomain::given_up_activation(const Error& why) {
  // What has failed here runs nowhere, now or later.
  record_.activated = false;
  if (auto gone = discard(); !gone) spdlog::error("{}: {}", options_.name, gone.error().text());
  return std::unexpected(why.in(fmt::format("activating {}", options_.name)));
}

Status WaitingDomain::after_failure(Error why) {
  const auto look = [this]() -> Result<Standing> {
    auto found = look_at_domain(record_.domid);
    if (!found) return std::unexpected(found.error());
    const std::optional<FoundDomain>& domain = *found;
    if (!domain || domain->uuid != record_.uuid) return Standing::gone;
    return domain->paused ? Standing::paused : Standing::runs;
  };
  switch (fate_of_activation(look, [this] { return process_.process().kill(); })) {
    case ActivationFate::runs:
      spdlog::warn("{} runs as domain {}, though the restore did not say so: {}", options_.name,
                   record_.domid, why.text());
      return {};
    case ActivationFate::never: return given_up_activation(why);
    case ActivationFate::unknown: break;
  }
  why.fix =
      fmt::format("see `xl list`: if domain {} runs, it is the guest; if it is paused, nobody will run it",
                  record_.domid);
  return std::unexpected(
      std::move(why).in(fmt::format("activating {}, and Xen does not tell whether it runs", options_.name)));
}

Result<ActivationReport> WaitingDomain::activate(std::span<const std::byte> device_state) {
  const auto begin = Clock::now();
  if (!built_ || !memory_.mapped())
    return fail(Errc::internal, "activate() of a standby that is not prepared");
  if (record_.activated) return fail(Errc::internal, "activate() twice");
  auto state = parse_device_state(device_state);
  if (!state) return std::unexpected(state.error());
  if (state->records.empty() || (facts_.device_model && state->emulator_context.empty()))
    return fail(Errc::corrupt, fmt::format("the state of {} is not complete", options_.name));
  // From here on it may run at any moment: whoever finds this record must not kill it.
  record_.activated = true;
  if (auto saved = save_record(places_.record, record_); !saved) return given_up_activation(saved.error());
  REMUS_FAULT_POINT("activate.feeding");
  if (auto fed = feed_activation(*state); !fed) return given_up_activation(fed.error());
  const auto fed_at = Clock::now();
  auto restored = process_.await("restored", restore_within);
  const auto restored_at = Clock::now();
  Status running = restored ? process_.release() : std::unexpected(restored.error());
  if (running)
    if (auto said = process_.await("running", run_within); !said) running = std::unexpected(said.error());
  if (!running)
    if (auto left = after_failure(running.error()); !left) return std::unexpected(left.error());
  const auto running_at = Clock::now();
  REMUS_FAULT_POINT("activate.running");
  spdlog::info("activating {}: state {} us, domain and devices {} us, run {} us", options_.name,
               us_between(begin, fed_at), us_between(fed_at, restored_at),
               us_between(restored_at, running_at));
  process_.let_go();
  // HVM and PVH: nobody is hurt by our mappings, but they would keep the domain's memory after its end.
  unmapping_ = std::jthread{[this](const std::stop_token& hurry) { memory_.unmap_by_and_by(hurry); }};
  return ActivationReport{us_between(begin, running_at)};
}

}  // namespace

Result<std::unique_ptr<Standby>> make_xen_standby(XenStandbyOptions options) {
  auto program = restorer_program(options);
  if (!program) return std::unexpected(program.error());
  if (const auto left = find_xen_standby(options); left && left->running && left->activated)
    return fail(
        Errc::refused,
        fmt::format("guest '{}' runs on this host already (domain {}, activated by an earlier failover)",
                    options.name, left->domid),
        "protect it from here, or shut it down first");
  return std::make_unique<WaitingDomain>(std::move(options), std::move(*program));
}

Result<XenStandbyLeftover> find_xen_standby(const XenStandbyOptions& options) {
  auto record = load_record(places_of(options).record);
  if (!record) return std::unexpected(record.error());
  const std::optional<StandbyRecord>& maybe = *record;
  if (!maybe) return fail(Errc::not_found, fmt::format("no standby of '{}' was left here", options.name));
  const StandbyRecord& found = *maybe;
  XenStandbyLeftover out{.running = false, .activated = found.activated, .domid = found.domid, .pid = 0};
  if (ChildProcess::adopt(found.pid, found.start_time)) out.pid = found.pid;
  if (found.uuid.empty()) return out;
  auto domid = domain_with(found.uuid);
  if (!domid) return std::unexpected(domid.error());
  if (*domid == 0) return out;
  out.domid = *domid;
  auto state = look_at_domain(out.domid);
  if (!state) return std::unexpected(state.error());
  const std::optional<FoundDomain>& domain = *state;
  out.running = domain.has_value();
  // A waiting domain is paused from its making on; one that is not has been run.
  out.activated = out.running && (found.activated || !domain->paused);
  return out;
}

Status discard_xen_standby(const XenStandbyOptions& options) {
  const StandbyPlaces places = places_of(options);
  auto record = load_record(places.record);
  if (!record) return std::unexpected(record.error());
  const std::optional<StandbyRecord>& maybe = *record;
  if (!maybe) return {};
  auto leftover = find_xen_standby(options);
  if (!leftover) return std::unexpected(leftover.error());
  if (leftover->running && leftover->activated)
    return fail(Errc::refused,
                fmt::format("the standby of '{}' runs the guest: it is not discarded", options.name));
  auto program = restorer_program(options);
  if (!program) return std::unexpected(program.error());
  return give_back(*program, *maybe, places);
}

}  // namespace remus::hypervisor::xen
