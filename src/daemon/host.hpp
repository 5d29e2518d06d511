// What this host does for its guests: protects them, keeps standbys for others, and takes care of what fails.
//
//   admin API ──▶ protect, unprotect, failover, verify, ...     host_admin.cpp
//   peer API  ──▶ prepare / discard standby, host report        host_peer.cpp
//   clock     ──▶ tend: bring back guards, standbys, links      host_tend.cpp
//   start     ──▶ find running guards again                     host_start.cpp
//   guards: start, describe, connect                            host_guards.cpp
//   domains whose configuration asks for it are protected       host_wishes.cpp
//
// One thread, coroutines. Two rules keep the flows apart: one operation at a time on a guest (Lock), and
// nothing is undone by guesswork: a flow that fails takes back its own steps in reverse order, everything
// else is left to tend(), which compares what is with what should be and acts on the difference.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "daemon/auto_protect.hpp"
#include "daemon/config.hpp"
#include "daemon/domain_watch.hpp"
#include "daemon/event_log.hpp"
#include "daemon/guard_handle.hpp"
#include "daemon/peers.hpp"
#include "daemon/registry.hpp"
#include "daemon/task.hpp"
#include "daemon/words.hpp"
#include "engine/types.hpp"
#include "guard/state_file.hpp"

namespace remus::daemon {

/// Raised when the requests between daemons change in a way an older one would misunderstand.
inline constexpr unsigned peer_api_version = 1;

struct ProtectRequest {
  std::string guest{};
  std::string to{};
  std::string qmp{};  ///< empty: a Xen domain of the guest's name, or a guest that came here by a failover
  nlohmann::json options{};  ///< part of GuestOptions over the configured defaults
  bool dry_run{};            ///< examine and ask the peer, change nothing
};

/// Keeps a guest to one operation; released by destruction.
class Lock final {
 public:
  explicit Lock(std::shared_ptr<std::string> doing) : doing_{std::move(doing)} {}
  Lock(Lock&&) noexcept = default;
  Lock& operator=(Lock&&) = delete;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() {
    if (doing_) doing_->clear();
  }

 private:
  std::shared_ptr<std::string> doing_;
};

struct Guest {
  Registration registration{};
  std::shared_ptr<GuardHandle> guard{};
  std::unique_ptr<ProcessWatch> process{};  ///< a QEMU guest's own, when it runs here
  std::unique_ptr<DomainWatch> domain{};    ///< a Xen guest's own, when it runs here
  std::shared_ptr<std::string> doing{std::make_shared<std::string>()};
  std::optional<Error> last_error{};
  bool superseded{};
  bool registered{};    ///< stands in the registry; false while it is being protected
  unsigned failures{};  ///< of tending, in a row
  std::chrono::steady_clock::time_point next_try{};

  [[nodiscard]] GuestFacts facts() const;
  /// Whether it is known where it runs on this host; and whether it is there. The truth of this moment.
  [[nodiscard]] bool known_here() const noexcept {
    return registration.guest_pid != 0 || registration.guest_domid != 0;
  }
  [[nodiscard]] bool lives() const { return (process && process->alive()) || (domain && domain->alive()); }
  void forget_where();
};
using GuestPtr = std::shared_ptr<Guest>;

class Host final {
 public:
  Host(boost::asio::io_context& io, Config config);
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  ~Host();

  /// Directories, registry, guards that run already. Then tends. Before it returns no request may be served:
  /// an unknown guest in a host report would be a lie.
  [[nodiscard]] Status start();

  /// Asks the guards anew, of one guest or of all (empty), so that what is shown next is of now. A guard that
  /// does not answer soon is shown as it was, with its age.
  [[nodiscard]] Task<void> look_again(std::string name = {});

  // For administrators.
  [[nodiscard]] nlohmann::json describe() const;
  [[nodiscard]] nlohmann::json guests() const;
  [[nodiscard]] Result<nlohmann::json> guest(const std::string& name) const;
  [[nodiscard]] Task<Result<nlohmann::json>> protect(ProtectRequest request);
  [[nodiscard]] Task<Result<nlohmann::json>> unprotect(std::string name, bool force);
  [[nodiscard]] Task<Result<nlohmann::json>> failover(std::string name, bool force);
  [[nodiscard]] Task<Result<nlohmann::json>> verify(std::string name, nlohmann::json request);
  [[nodiscard]] Task<Result<nlohmann::json>> adjust(std::string name, nlohmann::json options);
  [[nodiscard]] Task<nlohmann::json> peer_states();
  [[nodiscard]] Status remove_peer(const std::string& name);

  // For peers; `from` is the name in the asking certificate.
  [[nodiscard]] nlohmann::json hello() const;
  [[nodiscard]] Task<Result<nlohmann::json>> prepare_standby(std::string from, nlohmann::json body);
  [[nodiscard]] Task<Result<nlohmann::json>> discard_standby(std::string from, std::string name);
  [[nodiscard]] Result<nlohmann::json> report(const std::string& from, const std::string& name) const;

  [[nodiscard]] Peers& peers() noexcept { return peers_; }
  [[nodiscard]] EventLog& events() noexcept { return events_; }
  [[nodiscard]] const Config& config() const noexcept { return config_; }
  [[nodiscard]] boost::asio::io_context& io() noexcept { return io_; }

 private:
  using Milliseconds = std::chrono::milliseconds;

  // host_start.cpp
  [[nodiscard]] Status adopt(Registration registration);
  void adopt_guard(Guest& guest);

  // host_guards.cpp
  [[nodiscard]] guard::GuardSpec spec_for(const Guest& guest, guard::Side side) const;
  [[nodiscard]] Task<Status> start_guard(GuestPtr guest, guard::GuardSpec spec);
  [[nodiscard]] Task<Result<nlohmann::json>> ask_until_ready(GuestPtr guest, std::string target,
                                                             Milliseconds limit);
  [[nodiscard]] Task<void> end_guard(GuestPtr guest, std::string target);
  [[nodiscard]] Result<std::shared_ptr<GuardHandle>> open_guard(const std::string& name, guard::Side side,
                                                                pid_t pid, std::uint64_t ticks);
  void forget_guard(Guest& guest);
  void guard_ended(const std::string& name, const std::string& how);
  void heard_from_guard(const std::string& name, const guard::GuardStatus& status);
  void watch_guest(Guest& guest, std::uint32_t pid, std::uint64_t ticks);
  void watch_domain(Guest& guest, std::uint32_t domid, const std::string& uuid);
  [[nodiscard]] guard::Side side_of(const Guest& guest) const;
  [[nodiscard]] guard::StateRecord record_of(const std::string& name) const;
  [[nodiscard]] bool guest_lives(const Guest& guest) const;

  // host_admin.cpp
  [[nodiscard]] Task<Result<nlohmann::json>> examine(GuestPtr guest, bool rescue_first);
  [[nodiscard]] Task<Status> check_peer(std::string peer);
  [[nodiscard]] Task<Result<nlohmann::json>> protect_locked(GuestPtr guest, ProtectRequest request);
  [[nodiscard]] Task<Status> let_go_of_activated(GuestPtr guest);
  [[nodiscard]] Task<Result<Lock>> acquire(GuestPtr guest, std::string doing);
  [[nodiscard]] Result<GuestPtr> find(const std::string& name) const;
  void forget(Guest& guest);

  // host_tend.cpp
  struct Prepared {
    std::uint16_t port{};
    std::uint64_t superseded_by{};  ///< not 0: the peer runs the guest in this generation
  };
  [[nodiscard]] Task<Result<Prepared>> prepare_at_peer(GuestPtr guest);
  [[nodiscard]] Task<Status> connect(GuestPtr guest, std::uint16_t port);
  [[nodiscard]] Task<void> tend_all();
  [[nodiscard]] Task<void> settle_events();
  [[nodiscard]] Task<void> tend(GuestPtr guest);
  [[nodiscard]] Task<void> tend_primary(GuestPtr guest);
  [[nodiscard]] Task<void> tend_connection(GuestPtr guest);
  [[nodiscard]] Task<void> bring_back_guard(GuestPtr guest);
  [[nodiscard]] Task<void> fence(GuestPtr guest, std::uint64_t generation);
  [[nodiscard]] Task<void> settle_gone(GuestPtr guest);
  [[nodiscard]] Task<void> tend_backup(GuestPtr guest);
  void try_later(Guest& guest, Error error);
  void succeeded(Guest& guest);
  void become_owner(Guest& guest, const nlohmann::json& handle, std::uint64_t generation);

  // host_wishes.cpp
  [[nodiscard]] Task<void> heed_wishes();
  [[nodiscard]] Task<void> heed_wish(DomainLifeKey domain);

  boost::asio::io_context& io_;
  Config config_;
  Registry registry_;
  Peers peers_;
  EventLog events_{};
  HeededWishes wishes_;
  std::map<std::string, GuestPtr> guests_{};
};

}  // namespace remus::daemon
