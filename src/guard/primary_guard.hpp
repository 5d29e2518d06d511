// The primary's guard: engine, link, domain, output and arbiter, wired.
//
//   described ─ /v1/connect ─▶ running: the engine decides, this class carries out
//
//        Connector/Connection ──messages──▶┌────────┐──Capture──▶ Pipeline ──▶ Domain
//                   Arbiter ──verdict────▶ │ engine │──Release──▶ OutputBuffer
//   Pipeline ──captured, encoded─────────▶ └────────┘──Resend───▶ Sender ──▶ Connection
//
// Everything here runs on the io_context's one thread; the slow parts have threads of their own (Pipeline,
// OutputBuffer).
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>

#include "arbiter/arbiter.hpp"
#include "engine/primary.hpp"
#include "guard/api.hpp"
#include "guard/event_log.hpp"
#include "guard/host_watch.hpp"
#include "guard/hypervisors.hpp"
#include "guard/long_pauses.hpp"
#include "guard/pipeline.hpp"
#include "guard/quantiles.hpp"
#include "guard/rate.hpp"
#include "guard/sender.hpp"
#include "guard/state_file.hpp"
#include "guard/verify.hpp"
#include "http/server.hpp"
#include "link/connector.hpp"
#include "link/tls.hpp"

namespace remus::guard {

class PrimaryGuard final {
 public:
  PrimaryGuard(boost::asio::io_context& io, GuardSpec spec, pid_t keeper);
  PrimaryGuard(const PrimaryGuard&) = delete;
  PrimaryGuard& operator=(const PrimaryGuard&) = delete;
  ~PrimaryGuard();

  /// Opens the control socket and begins to inspect the guest. The io_context ends when the guard is done.
  Status start();
  /// SIGTERM: take protection off, then end.
  void terminate();

 private:
  struct PendingVerify {
    std::uint64_t id{};
    http::Responder responder;
    engine::Time began{};
    VerifyRequest asked{};
    VerifyReport report{};  ///< of what has been compared
  };

  // life
  void inspect();
  void inspected(Result<ProtectedGuest> guest);
  void run(std::vector<Endpoint> links);
  [[nodiscard]] Result<std::unique_ptr<PrimaryDisks>> open_disks();
  void watch_guest();
  void look_for_guest();
  void guest_gone();
  void guest_doomed(const std::string& why);
  [[nodiscard]] bool guest_is_lost();
  void end(std::string reason);
  void leave();
  void finish_fencing();

  // engine
  void after_event();
  void arm_timer();
  void act(const engine::primary_action::BeginSession& action);
  void act(const engine::primary_action::Synchronize& action);
  void act(const engine::primary_action::Capture& action);
  void act(const engine::primary_action::Resend& action);
  void act(const engine::primary_action::Release& action);
  void act(const engine::primary_action::SendHeartbeat& action);
  void act(const engine::primary_action::ClaimAlone& action);
  void act(const engine::primary_action::GoAlone& action);
  void act(const engine::primary_action::AbandonSession& action);
  void act(const engine::primary_action::PassOutput& action);
  void act(const engine::primary_action::Fence& action);
  void act(const engine::primary_action::StopGuest& action);
  void act(const engine::primary_action::SplitBrain& action);
  void act(const engine::primary_action::DropLink& action);
  void act(const engine::primary_action::End& action);
  void act(const engine::primary_action::StateChanged& action);

  // link
  void connect();
  void connected(std::unique_ptr<link::Connection> connection, const link::Welcome& welcome);
  void lost(const Error& error);
  void receive(const link::Message& message);
  void set_link_state(std::string state, std::string address = {});
  void send(const link::Message& message);

  // pipeline
  [[nodiscard]] Pipeline::Events pipeline_events();
  void record_capture(const hypervisor::CaptureReport& report);

  // control
  void serve(const http::Request& request, const http::Responder& responder);
  void serve_connect(const http::Request& request, const http::Responder& responder);
  void serve_adjust(const http::Request& request, const http::Responder& responder);
  void serve_verify(const http::Request& request, const http::Responder& responder);
  void report_verified(const PendingVerify& pending, const link::VerifyResult& result);
  [[nodiscard]] std::optional<GuardStatus::Verification> verification_status() const;
  void serve_superseded(const http::Request& request, const http::Responder& responder);
  void serve_unprotect(const http::Responder& responder);
  void verified(const link::VerifyResult& result);
  [[nodiscard]] GuardStatus status() const;
  [[nodiscard]] std::vector<GuardStatus::Disk> disk_status() const;
  Status record(StateRecord record);

  boost::asio::io_context& io_;
  GuardSpec spec_;
  pid_t keeper_;
  engine::Time started_;
  EventLog events_;
  std::shared_ptr<link::Pki> pki_{};
  std::optional<Error> no_identity_{};  ///< why there is no pki_
  std::optional<StateFile> state_file_{};
  std::unique_ptr<http::Server> control_{};
  std::unique_ptr<HostWatch> peer_host_{};
  std::unique_ptr<arbiter::Arbiter> arbiter_{};

  Phase phase_{Phase::starting};
  std::optional<Error> last_error_{};
  std::string reason_{};
  std::unique_ptr<Worker> setup_{};
  ProtectedGuest guest_{};
  std::unique_ptr<engine::Primary> engine_{};
  std::unique_ptr<Pipeline> pipeline_{};
  Sender sender_{};
  boost::asio::steady_timer timer_;
  boost::asio::steady_timer end_timer_;
  std::optional<boost::asio::posix::stream_descriptor> guest_process_{};
  boost::asio::steady_timer guest_timer_;
  bool guest_missed_{false};  ///< look_for_guest() has found it gone
  bool doomed_{false};        ///< ... or past saving

  std::unique_ptr<link::Connector> connector_{};
  std::unique_ptr<link::Connection> connection_{};
  std::vector<Endpoint> links_{};
  std::string link_state_{"down"};
  std::string link_address_{};
  engine::Time link_since_{};
  engine::Duration rtt_{};

  std::optional<http::Responder> unprotect_{};
  std::optional<PendingVerify> verify_{};
  std::uint64_t verify_ids_{0};
  bool ending_{false};
  bool fencing_{false};

  // figures
  Quantiles pauses_us_{};
  LongPauses long_pauses_{};
  Quantiles dirty_pages_{};
  std::uint64_t pause_max_us_{0};
  std::uint64_t checkpoints_{0};
  std::uint64_t raw_bytes_{0};
  std::uint64_t wire_base_bytes_{0};
  std::uint64_t paused_us_{0};
  Rate checkpoint_rate_{};
  Rate paused_rate_{};
  std::optional<hypervisor::SyncProgress> sync_{};
  engine::Time sync_began_{};
};

}  // namespace remus::guard
