// standby_from_save FILE NAME STEP...: drives the standby with a domain from a file of `xl save`.
//
// Steps: find, clear, build, prepare, fill, activate, discard, health, sleep:SECONDS, wait:PATH (until the
// file exists), die (by SIGKILL), linger (until killed). Each prints a line: its name, "ok" or "error",
// microseconds, a word.
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "hypervisor/xen/standby.hpp"
#include "saved_domain.hpp"

namespace {

using namespace remus;
using Clock = std::chrono::steady_clock;

struct Trial {
  test::SavedDomain saved;
  hypervisor::xen::XenStandbyOptions options;
  std::unique_ptr<hypervisor::Standby> standby{};
  hypervisor::StandbyMemory memory{};
};

Result<std::string> take_step(Trial& trial, const std::string& step) {
  const auto plain = [](Status done) -> Result<std::string> {
    if (!done) return std::unexpected(done.error());
    return "";
  };
  if (step == "find") {
    auto found = hypervisor::xen::find_xen_standby(trial.options);
    if (!found) return std::unexpected(found.error());
    return fmt::format("running={} activated={} domid={} pid={}", found->running, found->activated,
                       found->domid, found->pid);
  }
  if (step == "clear") return plain(hypervisor::xen::discard_xen_standby(trial.options));
  if (step == "die") ::kill(::getpid(), SIGKILL);
  if (step == "linger") ::pause();
  if (step.starts_with("sleep:")) {
    std::this_thread::sleep_for(std::chrono::seconds{std::stoi(step.substr(6))});
    return "";
  }
  if (step.starts_with("wait:")) {
    while (!std::filesystem::exists(step.substr(5)))
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
    return "";
  }
  if (!trial.standby) {
    auto made = hypervisor::xen::make_xen_standby(trial.options);
    if (!made) return std::unexpected(made.error());
    trial.standby = std::move(*made);
  }
  if (step == "build") return plain(trial.standby->build(trial.saved.description()));
  if (step == "prepare") {
    auto memory = trial.standby->prepare(trial.saved.description(), trial.saved.layout());
    if (!memory) return std::unexpected(memory.error());
    trial.memory = std::move(*memory);
    return trial.standby->handle().dump();
  }
  if (step == "fill") return plain(trial.saved.fill(trial.memory));
  if (step == "health") return trial.standby->healthy() ? "healthy" : "ill";
  if (step == "discard") return plain(trial.standby->discard());
  if (step == "activate") {
    auto report = trial.standby->activate(trial.saved.device_state());
    if (!report) return std::unexpected(report.error());
    return fmt::format("{}", report->total_us);
  }
  return fail(Errc::invalid, "no such step");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  auto saved = test::SavedDomain::open(argv[1]);
  if (!saved) {
    fmt::print("open error {}\n", saved.error().text());
    return 1;
  }
  fmt::print("open ok {} pages in {} blocks\n", saved->layout().pages(), saved->layout().blocks.size());
  Trial trial{std::move(*saved),
              {.name = argv[2], .runtime_dir = "/run/remus/standby", .bridges = {}, .program = {}}};
  bool good = true;
  for (int i = 3; i < argc; ++i) {
    std::fflush(stdout);
    const auto begin = Clock::now();
    auto done = take_step(trial, argv[i]);
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin).count();
    fmt::print("{} {} {} {}\n", argv[i], done ? "ok" : "error", us, done ? *done : done.error().text());
    good = good && done.has_value();
  }
  return good ? 0 : 1;
}
