// One run: two hosts, their guards with the product's engines, the network, the arbiter, faults, and the
// checks.
//
// Everything happens in a single queue of events ordered by simulated time; all chance comes from one seed.
// So a seed names a run, and a failing run can be looked at again, event by event.
#pragma once

#include <fmt/format.h>

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "arbiter_model.hpp"
#include "coverage.hpp"
#include "disk_model.hpp"
#include "network.hpp"
#include "rng.hpp"
#include "truth.hpp"

namespace remus::sim {

enum class Scenario : std::uint8_t {
  failstop,   ///< fail-stop (or manual) arbiter; faults within that assumption
  exclusive,  ///< exclusive arbiter; any fault, partitions of every kind
};

/// Replicas of disks: modelled by a value, or the product's own code on storage that loses what it may (slower).
enum class Disks : std::uint8_t {
  by_seed,  ///< one seed in 32 has the real ones
  modelled,
  real,
};

enum class EventKind : std::uint8_t {
  // bound to a guard: wait while it sleeps, vanish with it
  timer,
  deliver,
  dial,
  dial_timeout,
  poll,
  report,
  verdict,
  output_waiting,
  sync_pause,
  pause_end,
  capture_ready,
  apply_done,
  activate_done,
  stale_result,
  operator_call,
  guest_gone,
  guest_doomed,
  stop_guest,
  // of hosts and the world
  guest_step,
  rescue,
  start_guard,
  reboot,
  awake,
  report_taken,
  pause_check,
  fault,
  fault_end,
  heal,
  settle,
  failover_due,
};

struct Event {
  Ns at{};
  std::uint64_t sequence{};
  EventKind kind{EventKind::timer};
  std::uint8_t host{};
  std::uint64_t guard{};  ///< number of the guard it is meant for
  std::uint64_t a{};
  std::uint64_t b{};
};

enum class FaultKind : std::uint8_t {
  link_reset,
  link_partition,
  link_one_way,
  report_outage,
  guard_sleep,
  guard_crash,
  host_crash,
  guest_crash,
  arbiter_outage,
  slow_apply,
  slow_capture,
  hang_capture,
  fail_capture,
  fail_sync,
  fail_apply,
  fail_activation,
  lose_standby,
  partition_total,
  host_freeze,
  operator_failover,
  operator_force,
  unprotect,
  guest_stop,
  crash_at_step,
  checkpoint_now,
  big_epochs,
  guest_doomed,
  count_
};

struct Packet {
  std::uint32_t lineage{};
  std::uint64_t progress{};
  Epoch epoch{};
  bool marked{};
};

struct Guest {
  bool exists{};
  bool paused{};
  bool doomed{};           ///< cannot be captured any more, nor go on here
  std::uint64_t pause{};   ///< number of the pause it is in, or was last in
  std::uint64_t number{};  ///< so that steps of an earlier guest vanish
  Snapshot now{};
  bool hold{};  ///< its output buffer holds
  std::deque<Packet> held{};
};

/// What the capture thread is at.
struct Operation {
  bool active{};
  bool synchronizing{};
  bool fails{};
  std::uint64_t number{};
  Session session{};
  Epoch epoch{};
  Snapshot snapshot{};
  Ns paused_at{};
};

struct Guard {
  bool exists{};
  std::uint64_t number{};
  bool asleep{};
  Ns slept_until{};
  std::vector<Event> inbox{};
  std::unique_ptr<engine::Primary> primary{};
  std::unique_ptr<engine::Backup> backup{};
  // link
  int connection{-1};
  bool established{};
  Session session{};       ///< primary: the one begun last
  bool session_on_link{};  ///< epochs of the session may be sent on this connection
  Ns timer_at{};
  // primary
  std::deque<std::pair<Epoch, Snapshot>> kept{};
  DiskContent sent_disk{};  ///< as of the newest epoch of the session
  Operation operation{};
  // backup
  std::deque<std::pair<Epoch, Snapshot>> whole{};  ///< whole, not applied
  bool applying{};
  std::optional<Epoch> image_epoch{};
  Session image_session{};
  Snapshot image{};
  bool torn{};
  bool leaving{};  ///< exits when it has carried out its actions
  Ns last_report{};
};

struct Host {
  bool up{true};
  bool daemon{true};
  bool frozen{};
  std::uint64_t boots{};
  Ns clock_offset{};
  std::int64_t clock_ppm{};
  // durable
  Generation generation{};
  bool alone{true};
  bool known{};              ///< its guest has been protected: a new guard must rescue
  Ns open_until{};           ///< its guard crashed, its output passed: until then a backup may not know
  bool granted_alone{true};  ///< its output may pass, as far as the arbiter is concerned
  Guest guest{};
  Guard guard{};
  std::unique_ptr<DiskModel> disks{};  ///< null: modelled
  std::uint64_t steps{};
  std::uint64_t crash_at_step{};
  bool step_crash_is_host{};
};

struct RunResult {
  bool passed{true};
  std::string violation{};
  std::uint64_t hash{};
  Ns simulated{};
  std::uint64_t events{};
};

class World final {
 public:
  World(std::uint64_t seed, Scenario scenario, Coverage& coverage, std::vector<std::string>* trace,
        Disks disks);
  RunResult run();

 private:
  // world.cpp
  void dispatch(const Event& event);
  void dispatch_guard(const Event& event);
  void handle_guard(const Event& event);
  std::uint64_t at(Ns delay, EventKind kind, std::size_t host, std::uint64_t a = 0, std::uint64_t b = 0);
  void drain(std::size_t h);
  void arm_timer(std::size_t h);
  [[nodiscard]] engine::Time local(std::size_t h) const noexcept;
  [[nodiscard]] Ns world_time(std::size_t h, engine::Time local) const noexcept;
  bool step(std::size_t h);
  void mix(std::uint64_t value) noexcept;
  template <typename... T>
  void note(fmt::format_string<T...> format, T&&... values) {
    if (trace_ != nullptr) {
      trace_->push_back(fmt::format("{:>12.3f} ms  ", static_cast<double>(now_) / 1e6) +
                        fmt::format(format, std::forward<T>(values)...));
    }
  }
  // hosts.cpp
  void start_guest(std::size_t h, std::uint32_t lineage, const Snapshot& from);
  void guest_step(std::size_t h, std::uint64_t number);
  void emit_packet(std::size_t h);
  void pass_output(std::size_t h);
  void release_output(std::size_t h, Epoch upto);
  void kill_guest(std::size_t h);
  void start_guard(std::size_t h);
  void find_replicas(std::size_t h);
  void become_primary(std::size_t h, engine::PrimaryStart start);
  void exit_guard(std::size_t h);
  void crash_guard(std::size_t h);
  void crash_host(std::size_t h);
  void reboot(std::size_t h);
  void rescue(std::size_t h);
  void end_doomed(std::size_t h);
  void sleep_guard(std::size_t h, Ns duration);
  void wake_guard(std::size_t h);
  void begin_pause(std::size_t h, Epoch epoch);
  void end_pause(std::size_t h);
  void check_pause(std::size_t h, std::uint64_t pause);
  // links.cpp
  [[nodiscard]] bool path_open(std::size_t to) const noexcept;
  void dial(std::size_t h);
  void send(std::size_t h, const Message& message, Ns transfer = 0);
  void push(int connection, std::size_t to, const Message& message, Ns extra);
  void flush_paths();
  void close(std::size_t h, bool abrupt);
  void deliver(std::size_t h, int connection);
  void deliver_to_nobody(std::size_t h, int connection);
  void receive_primary(std::size_t h, const Message& message);
  void receive_backup(std::size_t h, const Message& message);
  void accept_dial(std::size_t h, int connection, const Message& message);
  void lost_connection(std::size_t h);
  void poll(std::size_t h);
  void take_report(std::size_t h);
  // primary_shell.cpp
  void act(std::size_t h, const engine::PrimaryAction& action);
  void interrupt(std::size_t h);
  void sync_pause(std::size_t h, std::uint64_t operation);
  void operation_ends(std::size_t h, std::uint64_t operation);
  void send_epoch(std::size_t h, Epoch epoch, const Snapshot& snapshot);
  void leave_protection(std::size_t h);
  // backup_shell.cpp
  void act(std::size_t h, const engine::BackupAction& action);
  void apply_next(std::size_t h);
  void apply_done(std::size_t h);
  void activate(std::size_t h, Generation generation, Epoch epoch);
  void activate_done(std::size_t h, Epoch epoch);
  void ask_arbiter(std::size_t h, Generation generation, bool activate);
  void operator_call(std::size_t h, bool force);
  // faults.cpp
  void plan_faults();
  void fault(FaultKind kind, std::size_t h, Ns duration);
  void fault_end(FaultKind kind, std::size_t h);
  [[nodiscard]] bool allowed(FaultKind kind, std::size_t h) const;
  [[nodiscard]] std::optional<std::size_t> primary_host() const noexcept;
  [[nodiscard]] bool may_activate(std::size_t h) const noexcept;
  [[nodiscard]] bool reports_flow(std::size_t from) const noexcept;
  [[nodiscard]] bool link_healthy() const noexcept;
  [[nodiscard]] bool unguarded(std::size_t h) const noexcept;
  void heal();
  void settle();
  void expect_failover(std::size_t dead);
  void failover_due(std::size_t h, std::uint64_t expectation);

  struct Later {
    bool operator()(const Event& left, const Event& right) const noexcept {
      return left.at != right.at ? left.at > right.at : left.sequence > right.sequence;
    }
  };

  Rng rng_;
  Scenario scenario_;
  Coverage& coverage_;
  std::vector<std::string>* trace_;
  engine::Config config_{};
  ArbiterModel arbiter_;
  Truth truth_{};
  std::array<Host, 2> hosts_{};
  std::deque<Connection> connections_{};
  std::priority_queue<Event, std::vector<Event>, Later> queue_{};
  Ns now_{};
  std::uint64_t sequence_{};
  std::uint64_t numbers_{};
  std::uint64_t hash_{0xcbf29ce484222325ULL};
  std::uint64_t events_{};
  bool done_{};

  // network conditions
  Ns delay_min_{};
  Ns delay_max_{};
  Ns epoch_transfer_{};
  Ns report_period_{};
  Ns dial_period_{};
  std::array<int, 2> blocked_{};         ///< link towards that host
  std::array<int, 2> report_blocked_{};  ///< reports about that host
  std::array<int, 2> arbiter_blocked_{};
  int link_faults_{};  ///< under way
  int report_faults_{};
  Ns link_fault_ended_{};

  // what is to go wrong next
  Ns slow_apply_until_{};
  Ns slow_capture_until_{};
  std::array<bool, static_cast<std::size_t>(FaultKind::count_)> armed_{};

  // liveness
  Ns heal_at_{};
  bool healed_{};
  bool stopped_{};          ///< the guest was shut down: nothing more is expected
  std::uint64_t faults_{};  ///< so far; an expectation holds only while no further fault comes
  bool grant_lost_{};       ///< the arbiter granted, and its answer was lost (docs/engine.md, "Open")
  std::size_t failovers_{};
  bool was_protected_{};
  std::optional<Epoch> settled_commit_{};
};

[[nodiscard]] std::string_view to_string(EventKind kind) noexcept;
[[nodiscard]] std::string_view to_string(FaultKind kind) noexcept;

/// Runs one seed. Assertions of the engine count as violations.
[[nodiscard]] RunResult run_seed(std::uint64_t seed, Scenario scenario, Coverage& coverage,
                                 std::vector<std::string>* trace = nullptr, Disks disks = Disks::by_seed);

}  // namespace remus::sim
