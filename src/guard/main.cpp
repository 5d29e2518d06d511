// remus-guard: protects one guest, or keeps its standby. Started by remusd.
#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <tuple>

#include "guard/backup_guard.hpp"
#include "guard/hypervisors.hpp"
#include "guard/keeper.hpp"
#include "guard/primary_guard.hpp"
#include "guard/spec.hpp"

namespace {

namespace guard = remus::guard;

void set_up_log(const guard::GuardSpec& spec) {
  spdlog::level::level_enum level = spdlog::level::from_str(spec.log_level);
  try {
    if (!spec.log_file.empty())
      spdlog::set_default_logger(spdlog::basic_logger_mt("guard", spec.log_file.string()));
  } catch (const spdlog::spdlog_ex& error) {
    fmt::print(stderr, "remus-guard: cannot log to {}: {}\n", spec.log_file.native(), error.what());
  }
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ " + spec.guest + "." +
                      std::string{guard::to_string(spec.side)} + " %v");
  spdlog::set_level(level);
  spdlog::flush_on(spdlog::level::info);
  // A full disk must not end a guard.
  spdlog::set_error_handler([](const std::string&) {});
}

template <typename Guard>
int serve(boost::asio::io_context& io, Guard& the_guard) {
  if (const remus::Status started = the_guard.start(); !started) {
    spdlog::critical("{}", started.error().text());
    fmt::print(stderr, "remus-guard: {}\n", started.error().text());
    return 1;
  }
  boost::asio::signal_set signals{io, SIGTERM, SIGINT};
  signals.async_wait([&](const boost::system::error_code& error, int) {
    if (!error) the_guard.terminate();
  });
  io.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Protects one guest, or keeps its standby. Started by remusd; see remus-guard(8)."};
  std::string file;
  app.add_option("--spec", file, "what to do, as JSON (written by remusd)")->required();
  app.set_version_flag("--version", REMUS_VERSION);
  CLI11_PARSE(app, argc, argv);

  const auto spec = guard::load_spec(file);
  if (!spec) {
    fmt::print(stderr, "remus-guard: {}\n", spec.error().text());
    return 2;
  }
  std::ignore = std::signal(SIGPIPE, SIG_IGN);

  const bool primary = spec->side == guard::Side::primary;
  pid_t keeper = 0;
  if (primary) {
    keeper = ::getpid();
    guard::become_guarded_child([&] {
      if (const remus::Status rescued = guard::rescue_guest(*spec); !rescued)
        fmt::print(stderr, "remus-keeper: {}\n", rescued.error().text());
    });
    if (keeper == ::getpid()) keeper = 0;  // no keeper could be started
  }
  set_up_log(*spec);
  boost::asio::io_context io{1};
  if (primary) {
    guard::PrimaryGuard the_guard{io, *spec, keeper};
    return serve(io, the_guard);
  }
  guard::BackupGuard the_guard{io, *spec};
  return serve(io, the_guard);
}
