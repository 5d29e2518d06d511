// Plays a guard for the daemon's tests: the control socket as docs/guard-api.md has it, and no guest behind
// it.
//
// The "QMP socket" of the spec is a file whose first word is the pid that stands for the guest, and whose
// second, if any, is how to misbehave: "refuse" (the guest cannot be protected), "crash" (exit at once).
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fstream>
#include <string>

#include "guard/api.hpp"
#include "guard/event_log.hpp"
#include "guard/state_file.hpp"
#include "http/server.hpp"

namespace {

using namespace remus;
using nlohmann::json;

class FakeGuard {
 public:
  FakeGuard(boost::asio::io_context& io, guard::GuardSpec spec)
      : io_{io},
        end_{io},
        spec_{std::move(spec)},
        state_{*guard::StateFile::open(guard::state_file(spec_.dirs.state, spec_.guest))},
        server_{io, [this](const http::Request& request, const http::Responder& responder) {
                  serve(request, responder);
                }} {
    status_.guest = spec_.guest;
    status_.side = spec_.side;
    status_.peer = spec_.peer;
    status_.pid = static_cast<std::uint32_t>(::getpid());
    status_.options = spec_.options;
    status_.generation = std::max(spec_.generation, state_.record().generation);
    status_.phase = guard::Phase::running;
    status_.state = "empty";
    if (spec_.side == guard::Side::primary) {
      std::uint32_t pid{};
      std::ifstream{spec_.qmp} >> pid >> behaviour_;
      status_.guest_pid = pid;
      status_.state = "idle";
      status_.phase = guard::Phase::described;
      record(guard::HostRole::primary, std::max<std::uint64_t>(1, status_.generation));
      if (behaviour_ == "refuse") {
        status_.phase = guard::Phase::refused;
        status_.last_error = Error{Errc::refused, "the guest has a passthrough device", "remove it"};
      }
    }
  }

  [[nodiscard]] const std::string& behaviour() const { return behaviour_; }
  Status start() {
    return server_.listen_unix(guard::control_socket(spec_.dirs.run, spec_.guest, spec_.side), 0600);
  }

 private:
  void record(guard::HostRole role, std::uint64_t generation) {
    status_.generation = generation;
    if (auto status = state_.write({generation, 0, role, false}); !status) ::_exit(9);
  }

  void leave(const http::Responder& responder, const std::string& body) {
    events_.add("state", "leaving");
    responder.reply({200, body});
    end_.expires_after(std::chrono::milliseconds{50});
    end_.async_wait([this](const boost::system::error_code& again) {
      if (!again) io_.stop();
    });
  }

  void serve(const http::Request& request, const http::Responder& responder) {
    const auto& path = request.path;
    const auto body = json::parse(request.body.empty() ? "{}" : request.body);
    status_.last_event = events_.newest();
    if (path == "/v1/status") return responder.reply({200, guard::to_json(status_).dump()});
    if (path == "/v1/events") {
      const auto after = request.query.find("after");
      const auto number = after == request.query.end() ? 0 : std::stoull(after->second);
      return responder.reply({200, events_.after(number).dump()});
    }
    if (path == "/v1/fake") {  // a test's word, from nowhere
      if (body.contains("state")) status_.state = body["state"].get<std::string>();
      if (body.contains("event")) events_.add("link", body["event"].get<std::string>());
      return responder.reply({200, "{}"});
    }
    if (path == "/v1/description") {
      if (status_.last_error) return responder.fail(*status_.last_error);
      const hypervisor::GuestDescription guest{"qemu", "7.2.0", 1 << 20, {{"machine", "pc"}}};
      return responder.reply({200, guard::to_json(guest).dump()});
    }
    if (path == "/v1/connect") {
      status_.phase = guard::Phase::running;
      status_.state = "protected";
      if (status_.link.state != "up") events_.add("link", "link to " + spec_.peer + " is up");
      status_.link.state = "up";
      status_.link.address = body["links"][0].get<std::string>();
      return responder.reply({200, "{}"});
    }
    if (path == "/v1/adjust") {
      status_.options = *guard::options_from_json(body, status_.options);
      return responder.reply({200, "{}"});
    }
    if (path == "/v1/verify") {
      guard::VerifyReport report{.first_epoch = 5, .epoch = 5, .pages_compared = 256, .duration_ms = 3};
      if (body.value("disks", false)) report.blocks_compared = 40;
      return responder.reply({200, guard::to_json(report).dump()});
    }
    if (path == "/v1/ready") {
      status_.state = "standby";
      status_.link.state = "up";
      return responder.reply({200, R"({"port": 7601})"});
    }
    if (path == "/v1/failover") {
      status_.state = "active";
      status_.handle = {{"qmp", "/run/standby.qmp"}, {"pid", ::getppid()}};
      record(guard::HostRole::primary, status_.generation + 1);
      return responder.reply({200, R"({"detected_ms": 1, "activation_ms": 2, "epoch": 3, "time": ""})"});
    }
    if (path == "/v1/unprotect" || path == "/v1/stop" || path == "/v1/handover")
      return leave(responder, "{}");
    responder.fail({Errc::not_found, "no " + path, {}});
  }

  boost::asio::io_context& io_;
  boost::asio::steady_timer end_;
  guard::GuardSpec spec_;
  guard::StateFile state_;
  guard::EventLog events_{spec_.guest, spec_.side};
  guard::GuardStatus status_{};
  std::string behaviour_{};
  http::Server server_;
};

}  // namespace

int main(int argc, char** argv) {
  ::prctl(PR_SET_PDEATHSIG,
          SIGKILL);  // one that outlived its test would keep ctest waiting for its output's end
  CLI::App app{"plays a guard"};
  std::string file;
  app.add_option("--spec", file)->required();
  CLI11_PARSE(app, argc, argv);
  auto spec = guard::load_spec(file);
  if (!spec) return 2;
  if (spec->superseded_by != 0) {
    auto state = guard::StateFile::open(guard::state_file(spec->dirs.state, spec->guest));
    auto record = state->record();
    record.superseded_by = spec->superseded_by;
    return state->write(record) ? 0 : 9;
  }
  boost::asio::io_context io{1};
  FakeGuard guard{io, std::move(*spec)};
  if (guard.behaviour() == "crash" || !guard.start()) return 3;
  io.run_for(std::chrono::seconds{120});
  return 0;
}
