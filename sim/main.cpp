// remus-sim: runs seeds of the simulator, shows a failing one, and what the runs went through.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "engine/mutation.hpp"
#include "world.hpp"

namespace {

using namespace remus;
using sim::Scenario;

std::string_view name(Scenario scenario) {
  return scenario == Scenario::failstop ? "failstop" : "exclusive";
}

struct Options {
  std::uint64_t seeds{10'000};
  std::uint64_t from{};
  std::optional<std::uint64_t> seed{};
  unsigned jobs{std::max(1U, std::min(16U, std::thread::hardware_concurrency()))};
  std::string scenario{"both"};
  std::string mutation{"none"};
  bool trace{};
  bool coverage{};
};

int replay(std::uint64_t seed, const Options& options, Scenario scenario) {
  sim::Coverage coverage;
  std::vector<std::string> trace;
  const auto result = sim::run_seed(seed, scenario, coverage, &trace);
  constexpr std::size_t tail = 80;
  const std::size_t first = options.trace || trace.size() <= tail || result.passed ? 0 : trace.size() - tail;
  if (options.trace || !result.passed) {
    for (std::size_t i = first; i < trace.size(); ++i) fmt::print("{}\n", trace[i]);
  }
  fmt::print("seed {} scenario {}: {} (simulated {} ms, {} events, trace hash {:016x})\n", seed,
             name(scenario), result.passed ? "passed" : result.violation, result.simulated / 1'000'000,
             result.events, result.hash);
  return result.passed ? 0 : 1;
}

void print(const sim::Coverage& coverage) {
  for (const auto& line : coverage.lines()) {
    fmt::print("{:>12} {} {}\n", line.count, line.required && line.count == 0 ? "MISSING" : "       ",
               line.name);
  }
}

int run_many(const Options& options, const std::vector<Scenario>& scenarios) {
  std::atomic<std::uint64_t> next{0};
  std::atomic<std::uint64_t> simulated_ms{0};
  std::mutex mutex;
  sim::Coverage total;
  std::optional<std::pair<std::uint64_t, Scenario>> failing;
  const std::uint64_t runs = options.seeds;
  const auto began = std::chrono::steady_clock::now();
  const auto work = [&] {
    sim::Coverage coverage;
    std::uint64_t simulated = 0;
    for (std::uint64_t i = next++; i < runs; i = next++) {
      const std::uint64_t seed = options.from + i;
      const Scenario scenario = scenarios[i % scenarios.size()];
      const auto result = sim::run_seed(seed, scenario, coverage);
      simulated += static_cast<std::uint64_t>(result.simulated / 1'000'000);
      if (!result.passed) {
        const std::scoped_lock lock{mutex};
        if (!failing || seed < failing->first) failing = {seed, scenario};
        next = runs;
      }
    }
    simulated_ms += simulated;
    const std::scoped_lock lock{mutex};
    total.add(coverage);
  };
  {
    std::vector<std::jthread> threads;
    threads.reserve(options.jobs);
    for (unsigned i = 0; i < options.jobs; ++i) threads.emplace_back(work);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  if (options.coverage) print(total);
  if (failing) {
    fmt::print("a run fails; replay it with: remus-sim --scenario {} --seed {} --trace\n",
               name(failing->second), failing->first);
    static_cast<void>(replay(failing->first, options, failing->second));
    return 1;
  }
  fmt::print("{} seeds from {}: no violation ({} s of two hosts' life simulated in {:.1f} s)\n", runs,
             options.from, simulated_ms.load() / 1'000, took.count());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Deterministic simulator of two hosts, their guards' engines, and what can go wrong between them."};
  Options options;
  app.add_option("--seeds", options.seeds, "how many seeds to run")->capture_default_str();
  app.add_option("--from", options.from, "the first seed")->capture_default_str();
  app.add_option("--seed", options.seed, "run this one seed and show how it went");
  app.add_option("--jobs", options.jobs, "threads")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--scenario", options.scenario, "seeds alternate between the two with 'both'")
      ->check(CLI::IsMember({"failstop", "exclusive", "both"}))
      ->capture_default_str();
  app.add_flag("--trace", options.trace, "with --seed: print everything that happened");
  app.add_flag("--coverage", options.coverage, "print what the runs went through, and what they missed");
#ifdef REMUS_FAULTS
  app.add_option("--mutation", options.mutation, "break the engine in this way first");
#endif
  CLI11_PARSE(app, argc, argv);
#ifdef REMUS_FAULTS
  if (options.mutation != "none") {
    const auto* found =
        std::find_if(std::begin(engine::all_mutations), std::end(engine::all_mutations),
                     [&](auto mutation) { return engine::to_string(mutation) == options.mutation; });
    if (found == std::end(engine::all_mutations)) {
      fmt::print(stderr, "no mutation is called '{}'\n", options.mutation);
      return 2;
    }
    active_mutation<engine::Mutation> = *found;
  }
#endif
  std::vector<Scenario> scenarios;
  if (options.scenario != "exclusive") scenarios.push_back(Scenario::failstop);
  if (options.scenario != "failstop") scenarios.push_back(Scenario::exclusive);
  if (!options.seed) return run_many(options, scenarios);
  int worst = 0;
  for (const Scenario scenario : scenarios) worst = std::max(worst, replay(*options.seed, options, scenario));
  return worst;
}
