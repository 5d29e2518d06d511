// The backup's guard: engine, link, replica, witnesses and arbiter, wired.
//
//   Listener/Connection ──messages──▶ Replica ──whole, applied──▶┌────────┐──SendAck, Apply──▶
//   HostWatch ──reports─────────────────────────────────────────▶│ engine │──ClaimActivation─▶ Arbiter
//   operator ──failover─────────────────────────────────────────▶└────────┘──Activate─▶ Replica ─▶ Standby
//
// After an activation it stays, shows the way to the guest, and meets a returning old primary with the later
// generation. Runs on the io_context's one thread; the slow parts are Replica's.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arbiter/manual.hpp"
#include "engine/backup.hpp"
#include "guard/api.hpp"
#include "guard/event_log.hpp"
#include "guard/host_watch.hpp"
#include "guard/rate.hpp"
#include "guard/replica.hpp"
#include "guard/state_file.hpp"
#include "http/server.hpp"
#include "link/listener.hpp"
#include "link/rejection_log.hpp"
#include "link/tls.hpp"

namespace remus::guard {

class BackupGuard final {
 public:
  BackupGuard(boost::asio::io_context& io, GuardSpec spec);
  BackupGuard(const BackupGuard&) = delete;
  BackupGuard& operator=(const BackupGuard&) = delete;
  ~BackupGuard();

  Status start();
  /// SIGTERM: an active guest is left running; a standby is discarded.
  void terminate();

 private:
  // life
  void refuse_service(const Error& error);
  void built(const Status& done);
  [[nodiscard]] Status check_room() const;
  [[nodiscard]] Status listen();
  void leave_soon();
  Status record(StateRecord record);

  // engine
  void after_event();
  void arm_timer();
  void act(const engine::backup_action::SendAck& action);
  void act(const engine::backup_action::SendHeartbeat& action);
  void act(const engine::backup_action::Apply& action);
  void act(const engine::backup_action::DiscardTorn& action);
  void act(const engine::backup_action::ClaimActivation& action);
  void act(const engine::backup_action::Activate& action);
  void act(const engine::backup_action::DiscardStandby& action);
  void act(const engine::backup_action::DropLink& action);
  void act(const engine::backup_action::StateChanged& action);

  // link
  void incoming(link::Incoming incoming);
  void lost(const Error& error);
  void receive(link::Message message, std::size_t bulk_bytes);
  void begin_session(const link::SessionBegin& message);
  void send(const link::Message& message);
  void set_link_state(std::string state, std::string address = {});

  [[nodiscard]] Replica::Events replica_events();
  void activated(const hypervisor::ActivationReport& report);
  void watch_health();

  // control
  void serve(const http::Request& request, const http::Responder& responder);
  void serve_failover(const http::Request& request, const http::Responder& responder);
  void serve_adjust(const http::Request& request, const http::Responder& responder);
  void serve_stop(const http::Responder& responder);
  void serve_handover(const http::Responder& responder);
  [[nodiscard]] GuardStatus status() const;
  [[nodiscard]] nlohmann::json failover_json() const;

  boost::asio::io_context& io_;
  GuardSpec spec_;
  engine::Time started_;
  EventLog events_;
  std::shared_ptr<link::Pki> pki_{};
  std::optional<StateFile> state_file_{};
  std::unique_ptr<http::Server> control_{};
  std::unique_ptr<HostWatch> peer_host_{};
  std::unique_ptr<arbiter::Arbiter> arbiter_{};
  arbiter::Manual* manual_{nullptr};  ///< arbiter_, if it is that one

  Phase phase_{Phase::starting};
  std::optional<Error> last_error_{};
  std::string reason_{};
  std::unique_ptr<engine::Backup> engine_{};
  std::unique_ptr<Replica> replica_{};
  boost::asio::steady_timer timer_;
  boost::asio::steady_timer health_timer_;
  boost::asio::steady_timer end_timer_;

  link::RejectionLog rejections_{};
  std::unique_ptr<link::Listener> listener_{};
  std::unique_ptr<link::Connection> connection_{};
  std::unique_ptr<link::Connection> leaving_{};  ///< says its last word
  hypervisor::GuestDescription description_{};   ///< newest told by the primary
  std::string link_state_{"down"};
  std::string link_address_{};
  engine::Time link_since_{};

  engine::Time heard_{};  ///< last sign of life of the primary
  engine::Time applied_at_{};
  engine::Time decided_at_{};
  nlohmann::json standby_handle_{};  ///< of the standby that was prepared; null: none
  std::optional<GuardStatus::Failover> failover_{};
  std::vector<http::Responder> failover_waiters_{};
  std::optional<http::Responder> stop_{};
  std::uint64_t applied_total_{0};
  Rate applied_rate_{};
  bool ending_{false};
};

}  // namespace remus::guard
