// Two hosts in one process, with real certificates, real HTTP between them, and guards played by fake_guard.
#include "daemon/host.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <boost/asio/co_spawn.hpp>
#include <fstream>
#include <functional>
#include <thread>

#include "../temp_dir.hpp"
#include "daemon/api.hpp"
#include "daemon/json_fields.hpp"
#include "link/certificates.hpp"

namespace remus::daemon {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

/// A process that stands for a guest.
class FakeGuest {
 public:
  FakeGuest() : pid_{spawn_detached("/bin/sleep", {"300"}).value()} {}
  FakeGuest(const FakeGuest&) = delete;
  FakeGuest& operator=(const FakeGuest&) = delete;
  ~FakeGuest() { end(); }
  void end() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

struct Machine {
  boost::asio::io_context io{1};  // of its own, as a daemon has: what is under way when it ends, ends with it
  std::unique_ptr<Host> host{};
  std::unique_ptr<http::Server> server{};
  std::unique_ptr<Router> router{};
  std::unique_ptr<http::Server> admin_server{};
  std::unique_ptr<Router> admin_router{};
};

class HostTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(link::create_ca(dir_.path() / "ca", "test").has_value());
    for (const char* name : {"hostA", "hostB", "hostC"}) {
      link::HostCertificateRequest request;
      request.host = name;
      ASSERT_TRUE(
          link::issue_host_certificate(dir_.path() / "ca", request, dir_.path() / name / "pki").has_value());
    }
    boot("hostA");
    boot("hostB");
    // Their ports are known only now.
    know("hostA", "hostB");
    know("hostB", "hostA");
  }

  void TearDown() override {
    for (auto& [name, machine] : machines_) {
      for (const auto& view : machine.host->guests()) {
        const auto pid = view["guard"].is_object() ? number_at(view["guard"], "pid") : 0;
        if (pid > 1 && view["guard_running"].get<bool>()) ::kill(static_cast<pid_t>(pid), SIGKILL);
      }
    }
    machines_.clear();
  }

  void boot(const std::string& name) {
    Config config;
    config.host = name;
    const auto root = dir_.path() / name;
    config.dirs = {root / "pki", root / "run", root / "state", root / "image"};
    config.guard_binary = REMUS_FAKE_GUARD;
    auto& machine = machines_[name];
    machine.host = std::make_unique<Host>(machine.io, std::move(config));
    const auto started = machine.host->start();
    ASSERT_TRUE(started.has_value()) << started.error().text();
    machine.router = std::make_unique<Router>(peer_routes(*machine.host));
    machine.server = std::make_unique<http::Server>(
        machine.io, [&machine](http::Request request, http::Responder responder) {
          machine.router->handle(machine.io, std::move(request), std::move(responder));
        });
    const auto port =
        machine.server->listen_tls({"127.0.0.1", ports_[name]}, machine.host->peers().pki().value());
    ASSERT_TRUE(port.has_value()) << port.error().text();
    ports_[name] = *port;
    machine.admin_router = std::make_unique<Router>(admin_routes(*machine.host));
    machine.admin_server = std::make_unique<http::Server>(
        machine.io, [&machine](http::Request request, http::Responder responder) {
          machine.admin_router->handle(machine.io, std::move(request), std::move(responder));
        });
    const auto listening = machine.admin_server->listen_unix(machine.host->config().admin_socket(), 0600);
    ASSERT_TRUE(listening.has_value()) << listening.error().text();
  }

  /// What an administrator is answered.
  json get(const std::string& host, const std::string& target) {
    http::Call call{"GET", target, {}};
    http::Endpoint endpoint{http::UnixEndpoint{on(host).config().admin_socket()}};
    return wait_for(host, ask_once(machines_.at(host).io, endpoint, call, milliseconds{20'000})).value();
  }

  /// Tells a fake guard what to play, behind its daemon's back.
  void play(const std::string& host, guard::Side side, const json& word) {
    http::Client client{http::UnixEndpoint{guard::control_socket(on(host).config().dirs.run, "web1", side)}};
    ASSERT_TRUE(client.request({"POST", "/v1/fake", word.dump()}, milliseconds{20'000}).has_value());
  }

  void know(const std::string& on, const std::string& other) {
    const auto added = machines_[on].host->peers().add({other, {{"127.0.0.1", ports_[other]}}});
    ASSERT_TRUE(added.has_value()) << added.error().text();
  }

  /// The daemon ends and comes back; guards are not told.
  void reboot_daemon(const std::string& name) {
    machines_.erase(name);
    run_for(milliseconds{50});
    boot(name);
  }

  Host& on(const std::string& name) { return *machines_.at(name).host; }

  template <typename T>
  T wait_for(const std::string& host, Task<T> task) {
    std::optional<T> result;
    boost::asio::co_spawn(machines_.at(host).io, std::move(task), [&](std::exception_ptr problem, T value) {
      if (problem) std::rethrow_exception(problem);
      result = std::move(value);
    });
    run_until([&] { return result.has_value(); });
    if (!result) throw std::runtime_error{"no answer"};
    return std::move(*result);
  }

  void run_for(milliseconds duration) {
    const auto until = std::chrono::steady_clock::now() + duration;
    do {
      for (auto& [name, machine] : machines_) {
        machine.io.restart();
        machine.io.poll();
      }
      std::this_thread::sleep_for(milliseconds{1});
    } while (std::chrono::steady_clock::now() < until);
  }

  /// Generous: a loaded machine is no failure. False when it never came true.
  bool run_until(const std::function<bool()>& condition, seconds limit = seconds{60}) {
    const auto until = std::chrono::steady_clock::now() + limit;
    while (!condition() && std::chrono::steady_clock::now() < until) run_for(milliseconds{10});
    return condition();
  }

  std::string state_of(const std::string& host, const std::string& guest) {
    const auto view = on(host).guest(guest);
    return view ? text_at(*view, "state") : "unknown guest";
  }

  std::filesystem::path qmp(pid_t pid, const std::string& behaviour = "") {
    const auto path = dir_.path() / "qmp";
    std::ofstream{path} << pid << " " << behaviour;
    return path;
  }

  Result<json> protect(const std::string& from, const std::string& to, const std::string& socket) {
    ProtectRequest request;
    request.guest = "web1";
    request.to = to;
    request.qmp = socket;
    return wait_for(from, on(from).protect(std::move(request)));
  }

  void protect_web1() {
    const auto answer = protect("hostA", "hostB", qmp(guest_.pid()));
    ASSERT_TRUE(answer.has_value()) << answer.error().text();
    ASSERT_TRUE(run_until([&] { return state_of("hostA", "web1") == "protected"; }))
        << state_of("hostA", "web1");
    ASSERT_TRUE(run_until([&] { return state_of("hostB", "web1") == "standby"; }))
        << state_of("hostB", "web1");
  }

  pid_t guard_pid(const std::string& host) {
    const auto view = on(host).guest("web1");
    return view && (*view)["guard"].is_object() ? static_cast<pid_t>(number_at((*view)["guard"], "pid")) : 0;
  }

  test::TempDir dir_;
  FakeGuest guest_;
  std::map<std::string, std::uint16_t> ports_;
  std::map<std::string, Machine> machines_;
};

TEST_F(HostTest, ProtectsAndUnprotects) {
  protect_web1();
  const auto again = protect("hostA", "hostB", qmp(guest_.pid()));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().kind, Errc::exists);
  const auto there = protect("hostB", "hostA", qmp(guest_.pid()));
  ASSERT_FALSE(there.has_value());
  EXPECT_THAT(there.error().text(), HasSubstr("protect it from hostA"));
  EXPECT_EQ(wait_for("hostA", on("hostA").verify("web1", json::object())).value()["pages_different"], 0);
  EXPECT_EQ(wait_for("hostA", on("hostA").verify("web1", {{"disks", true}})).value()["blocks_compared"], 40);

  EXPECT_EQ(wait_for("hostB", on("hostB").unprotect("web1", false)).error().kind, Errc::refused);
  ASSERT_TRUE(wait_for("hostA", on("hostA").unprotect("web1", false)).has_value());
  EXPECT_TRUE(on("hostA").guests().empty());
  EXPECT_TRUE(on("hostB").guests().empty());
  EXPECT_FALSE(std::filesystem::exists(dir_.path() / "hostA/state/guests/web1.json"));
  EXPECT_FALSE(std::filesystem::exists(dir_.path() / "hostB/state/guests/web1.json"));
  protect_web1();  // and again
}

TEST_F(HostTest, ARefusedGuestLeavesNothingBehind) {
  const auto answer = protect("hostA", "hostB", qmp(guest_.pid(), "refuse"));
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().kind, Errc::refused);
  EXPECT_THAT(answer.error().text(), HasSubstr("passthrough"));
  EXPECT_TRUE(on("hostA").guests().empty());
  EXPECT_TRUE(on("hostB").guests().empty());
}

TEST_F(HostTest, AGuardThatDiesAtItsStartIsAnErrorNotAHang) {
  const auto answer = protect("hostA", "hostB", qmp(guest_.pid(), "crash"));
  ASSERT_FALSE(answer.has_value());
  EXPECT_THAT(answer.error().text(), HasSubstr("ended at its start"));
  EXPECT_TRUE(on("hostA").guests().empty());
}

TEST_F(HostTest, BadRequestsAreRefusedBeforeAnythingIsStarted) {
  EXPECT_EQ(protect("hostA", "hostA", "/x").error().kind, Errc::invalid);
  EXPECT_EQ(protect("hostA", "hostX", "/x").error().kind, Errc::not_found);
  EXPECT_EQ(protect("hostA", "hostB", "").error().kind, Errc::invalid);
  EXPECT_EQ(protect("hostA", "hostB", "relative").error().kind, Errc::invalid);
  ProtectRequest request{"../web1", "hostB", "/x", {}, false};
  EXPECT_EQ(wait_for("hostA", on("hostA").protect(request)).error().kind, Errc::invalid);
  request.guest = "web1";
  request.options = {{"intervall", "5ms"}};
  EXPECT_THAT(wait_for("hostA", on("hostA").protect(request)).error().text(),
              HasSubstr("did you mean 'interval'"));
  EXPECT_EQ(wait_for("hostA", on("hostA").unprotect("web1", false)).error().kind, Errc::not_found);
}

TEST_F(HostTest, APeerThatIsNotThereIsUnreachable) {
  machines_.erase("hostB");
  const auto answer = protect("hostA", "hostB", qmp(guest_.pid()));
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().kind, Errc::unreachable);
  EXPECT_THAT(answer.error().text(), HasSubstr("is remusd running on hostB"));
  EXPECT_TRUE(on("hostA").guests().empty());
}

TEST_F(HostTest, ADaemonThatComesBackFindsItsGuards) {
  protect_web1();
  const auto primary = guard_pid("hostA");
  const auto backup = guard_pid("hostB");
  reboot_daemon("hostA");
  reboot_daemon("hostB");
  ASSERT_TRUE(run_until([&] { return state_of("hostA", "web1") == "protected"; }))
      << state_of("hostA", "web1");
  ASSERT_TRUE(run_until([&] { return state_of("hostB", "web1") == "standby"; })) << state_of("hostB", "web1");
  EXPECT_EQ(guard_pid("hostA"), primary) << "the same guard, not another";
  EXPECT_EQ(guard_pid("hostB"), backup);
}

TEST_F(HostTest, ADeadPrimaryGuardIsBroughtBack) {
  protect_web1();
  const auto dead = guard_pid("hostA");
  ::kill(dead, SIGKILL);
  ASSERT_TRUE(run_until([&] {
    return state_of("hostA", "web1") == "protected" && guard_pid("hostA") != dead;
  })) << state_of("hostA", "web1");
  std::ifstream spec{dir_.path() / "hostA/run/guards/web1.primary.spec"};
  EXPECT_TRUE(json::parse(spec)["rescue_first"].get<bool>()) << "what the dead one left must be undone first";
}

TEST_F(HostTest, HostReportsTellTheTruthAndOnlyToItsPeer) {
  protect_web1();
  auto report = on("hostA").report("hostB", "web1");
  ASSERT_TRUE(report.has_value());
  EXPECT_TRUE((*report)["guest_running"].get<bool>());
  EXPECT_TRUE((*report)["guard_running"].get<bool>());
  EXPECT_EQ((*report)["generation"], 1);
  EXPECT_EQ(on("hostA").report("hostC", "web1").error().kind, Errc::not_found);
  EXPECT_EQ(on("hostA").report("hostB", "web2").error().kind, Errc::not_found);
  guest_.end();
  report = on("hostA").report("hostB", "web1");  // at once, without a turn of the event loop
  EXPECT_FALSE((*report)["guest_running"].get<bool>());
}

TEST_F(HostTest, AfterAFailoverTheGuestIsOwnedThereAndForgottenHere) {
  protect_web1();
  EXPECT_EQ(wait_for("hostA", on("hostA").failover("web1", false)).error().kind, Errc::refused);
  guest_.end();
  ::kill(guard_pid("hostA"), SIGKILL);
  const auto report = wait_for("hostB", on("hostB").failover("web1", false));
  ASSERT_TRUE(report.has_value()) << report.error().text();
  ASSERT_TRUE(run_until([&] { return text_at(on("hostB").guest("web1").value(), "role") == "owner"; }));
  const auto view = on("hostB").guest("web1").value();
  EXPECT_EQ(text_at(view, "qmp"), "/run/standby.qmp")
      << "so that it can be protected again without naming it";
  EXPECT_EQ(view["generation"], 2);
  EXPECT_EQ(text_at(view, "state"), "unprotected");
  EXPECT_TRUE(run_until([&] { return on("hostA").guests().empty(); })) << on("hostA").guests().dump(2);
  reboot_daemon("hostB");
  EXPECT_EQ(text_at(on("hostB").guest("web1").value(), "role"), "owner");
}

TEST_F(HostTest, AGuestThatWasTakenOverMeanwhileIsFencedNotRescued) {
  protect_web1();
  ASSERT_TRUE(wait_for("hostB", on("hostB").failover("web1", true)).has_value());
  ASSERT_TRUE(run_until([&] { return text_at(on("hostB").guest("web1").value(), "role") == "owner"; }));
  ::kill(guard_pid("hostA"), SIGKILL);  // while the guest lives
  EXPECT_TRUE(run_until([&] {
    const auto record = guard::StateFile::peek(dir_.path() / "hostA/state/web1.state");
    return record && record->superseded_by == 2;
  })) << "the guard must be started to fence";
}

TEST_F(HostTest, ALostStandbyIsPreparedAgainByItself) {
  protect_web1();
  const auto answer = wait_for("hostB", on("hostB").discard_standby("hostA", "web1"));
  ASSERT_TRUE(answer.has_value()) << answer.error().text();
  EXPECT_TRUE(on("hostB").guests().empty());
  // A guard that lost its link says so; here it is brought back instead, which asks the peer in the same way.
  ::kill(guard_pid("hostA"), SIGKILL);
  EXPECT_TRUE(run_until([&] { return state_of("hostB", "web1") == "standby"; })) << state_of("hostB", "web1");
}

TEST_F(HostTest, AShutDownGuestIsForgottenWhenThePeerHasNoStandby) {
  protect_web1();
  ASSERT_TRUE(wait_for("hostB", on("hostB").discard_standby("hostA", "web1")).has_value());
  guest_.end();
  ::kill(guard_pid("hostA"), SIGKILL);
  EXPECT_TRUE(run_until([&] { return on("hostA").guests().empty(); })) << on("hostA").guests().dump(2);
}

TEST_F(HostTest, AStandbyIsNotPreparedOverAGuestThatRunsHere) {
  protect_web1();
  json body{{"guest", "web1"},
            {"generation", 0},
            {"description", {{"hypervisor", "qemu"}, {"version", "7"}, {"memory_bytes", 1}}}};
  const auto superseded = wait_for("hostA", on("hostA").prepare_standby("hostB", body));
  ASSERT_TRUE(superseded.has_value()) << superseded.error().text();
  EXPECT_EQ((*superseded)["superseded_by"], 1);
  body["generation"] = 9;
  EXPECT_EQ(wait_for("hostA", on("hostA").prepare_standby("hostB", body)).error().kind, Errc::exists);
  EXPECT_EQ(state_of("hostA", "web1"), "protected");
  body["guest"] = "../x";
  EXPECT_EQ(wait_for("hostA", on("hostA").prepare_standby("hostB", body)).error().kind, Errc::invalid);
}

TEST_F(HostTest, AStatusAskedForIsOfNow) {
  protect_web1();
  for (const char* state : {"suspecting", "claiming", "suspecting", "standby"}) {
    play("hostB", guard::Side::backup, {{"state", state}});
    EXPECT_EQ(text_at(get("hostB", "/v1/guests/web1"), "state"), state);
    play("hostB", guard::Side::backup, {{"state", "stale"}});
    EXPECT_EQ(text_at(get("hostB", "/v1/guests")["guests"][0], "state"), "stale");
  }
}

TEST_F(HostTest, AGuardThatDoesNotAnswerIsShownWithItsAge) {
  protect_web1();
  const auto guard = guard_pid("hostB");
  ::kill(guard, SIGSTOP);
  const auto before = get("hostB", "/v1/guests/web1");
  const auto after = get("hostB", "/v1/guests/web1");
  EXPECT_GT(number_at(after, "status_age_ms"), number_at(before, "status_age_ms"));
  EXPECT_EQ(text_at(after, "state"), "standby") << "what was heard last, with its age";
  EXPECT_TRUE(after["guard_running"].get<bool>());
  ::kill(guard, SIGCONT);
}

TEST_F(HostTest, EventsOfDaemonAndGuardsStandInOrderOfTimeEachOnce) {
  protect_web1();
  play("hostA", guard::Side::primary, {{"event", "link to hostB is down"}});
  const auto check = [&] {
    const auto events = get("hostA", "/v1/events?guest=web1")["events"];
    std::vector<std::string> times;
    std::vector<std::string> texts;
    for (const auto& event : events) {
      times.push_back(text_at(event, "time"));
      texts.push_back(text_at(event, "side") + ": " + text_at(event, "text"));
    }
    EXPECT_TRUE(std::ranges::is_sorted(times)) << events.dump(2);
    for (const char* wanted : {"primary: link to hostB is up", "primary: link to hostB is down"})
      EXPECT_EQ(std::ranges::count(texts, wanted), 1) << wanted << events.dump(2);
    EXPECT_THAT(texts, testing::Contains(testing::StartsWith("daemon: ")));
  };
  check();
  check();
  reboot_daemon("hostA");  // it remembers nothing, its guard does
  check();
}

TEST_F(HostTest, AGuardsLastWordsAreHeard) {
  protect_web1();
  ASSERT_TRUE(wait_for("hostA", on("hostA").unprotect("web1", false)).has_value());
  EXPECT_THAT(on("hostA").events().list(0, "web1").dump(), HasSubstr("leaving"));
}

TEST_F(HostTest, TheDoctorLooksAtTheBackupsRoom) {
  protect_web1();
  EXPECT_EQ(number_at(on("hostA").guest("web1").value(), "memory_bytes"), 1U << 20);
  const auto report = get("hostA", "/v1/doctor");
  std::vector<std::string> names;
  for (const auto& check : report["checks"]) names.push_back(text_at(check, "name"));
  EXPECT_THAT(names, testing::IsSupersetOf({"peer hostB", "room on hostB", "authority", "host"}))
      << report.dump(2);
}

TEST_F(HostTest, OptionsAreAdjustedWholeOrNotAtAll) {
  protect_web1();
  const auto changed = wait_for("hostA", on("hostA").adjust("web1", {{"interval", "20ms"}}));
  ASSERT_TRUE(changed.has_value()) << changed.error().text();
  EXPECT_EQ((*changed)["interval"], "20ms");
  EXPECT_EQ(wait_for("hostA", on("hostA").adjust("web1", {{"interval", "1h"}})).error().kind, Errc::invalid);
  EXPECT_EQ(wait_for("hostA", on("hostA").adjust("web1", {{"bandwidth", "100MiB/s"}})).value()["bandwidth"],
            "100MiB/s");
  EXPECT_EQ(wait_for("hostA", on("hostA").adjust("web1", {{"bandwidth", "unlimited"}})).value()["bandwidth"],
            "unlimited");
  EXPECT_EQ(wait_for("hostA", on("hostA").adjust("web1", {{"copy_rate", "1KiB/s"}})).error().kind,
            Errc::invalid);
  EXPECT_EQ(wait_for("hostA", on("hostA").adjust("web1", {{"copy_rate", "50MiB/s"}})).value()["copy_rate"],
            "50MiB/s");
  reboot_daemon("hostA");
  std::ifstream kept{dir_.path() / "hostA/state/guests/web1.json"};
  EXPECT_EQ(json::parse(kept)["options"]["interval"], "20ms");
}

TEST_F(HostTest, AHostThatIsEnrolledButNoPeerIsDenied) {
  http::TlsEndpoint endpoint{
      {"127.0.0.1", ports_["hostA"]}, "hostA", link::Pki::open(dir_.path() / "hostC/pki").value()};
  http::Call call{"GET", "/v1/peer/hello", {}};
  const auto answer =
      wait_for("hostB", ask_once(machines_.at("hostB").io, endpoint, call, milliseconds{20'000}));
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().kind, Errc::denied);
  EXPECT_THAT(answer.error().text(), HasSubstr("remus host add hostC"));
}

TEST_F(HostTest, APeerWithGuestsIsNotForgotten) {
  protect_web1();
  EXPECT_EQ(on("hostA").remove_peer("hostB").error().kind, Errc::refused);
  EXPECT_EQ(on("hostA").remove_peer("hostX").error().kind, Errc::not_found);
}

}  // namespace
}  // namespace remus::daemon
