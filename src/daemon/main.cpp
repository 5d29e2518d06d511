// remusd: one per host. Stopping it disturbs no guest and no guard.
#include <fmt/format.h>
#include <grp.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>

#include "base/fd.hpp"
#include "daemon/api.hpp"
#include "daemon/config.hpp"
#include "daemon/host.hpp"
#include "http/server.hpp"
#include "link/rejection_log.hpp"

namespace {

using namespace remus;
using namespace remus::daemon;

/// Tells systemd (Type=notify) that requests are served. Nothing to do elsewhere.
void notify_ready() {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == '\0') return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if (length >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, length);
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const Fd fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  constexpr std::string_view ready = "READY=1";
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the socket interface is made so
  if (!fd || ::sendto(fd.get(), ready.data(), ready.size(), MSG_NOSIGNAL,
                      reinterpret_cast<sockaddr*>(&address), size) < 0)
    spdlog::warn("systemd was not told that remusd is ready: {}", std::strerror(errno));
}

Result<gid_t> group_of(const std::string& name) {
  if (name.empty()) return static_cast<gid_t>(-1);
  const group* found = ::getgrnam(name.c_str());
  if (found == nullptr)
    return fail(Errc::not_found, fmt::format("api.group: there is no group '{}'", name),
                "create it: groupadd --system");
  return found->gr_gid;
}

/// Peers are served as soon as there is an identity: certificates may be issued after the daemon was started.
Task<void> serve_peers(Host& host, http::Server& server) {
  std::string told;
  for (;;) {
    Status served{};
    auto pki = host.peers().pki();
    if (pki) {
      for (const auto& address : host.config().listen) {
        auto port = server.listen_tls(link::Address{address, host.config().peer_port}, *pki);
        if (!port && served) served = std::unexpected(port.error());
      }
      if (served) break;
    } else {
      served = std::unexpected(pki.error());
    }
    const auto text = served.error().text();
    if (text != told)
      host.events().add("", "error", fmt::format("other hosts cannot be served yet: {}", text));
    told = text;
    co_await sleep_for(std::chrono::seconds{2});
  }
  spdlog::info("peers are served on port {}", host.config().peer_port);
}

Status serve(Config config) {
  boost::asio::io_context io{1};
  boost::asio::signal_set signals{io, SIGTERM, SIGINT};
  signals.async_wait([&](const boost::system::error_code& code, int signal) {
    if (code) return;
    spdlog::info("ending on signal {}; guards go on", signal);
    io.stop();
  });

  auto group = group_of(config.api_group);
  if (!group) return std::unexpected(group.error());
  Host host{io, std::move(config)};
  if (auto status = host.start(); !status) return status;

  const Router admin = admin_routes(host);
  const Router peer = peer_routes(host);
  http::Server admin_server{io, [&](http::Request request, http::Responder responder) {
                              admin.handle(io, std::move(request), std::move(responder));
                            }};
  const auto log_rejected = [log = std::make_shared<link::RejectionLog>()](const std::string& who,
                                                                           const Error& why) {
    if (const auto line = log->note(who, why, std::chrono::steady_clock::now())) spdlog::warn("{}", *line);
  };
  http::Server peer_server{io,
                           [&](http::Request request, http::Responder responder) {
                             peer.handle(io, std::move(request), std::move(responder));
                           },
                           {.on_rejected = log_rejected}};
  if (auto status = admin_server.listen_unix(host.config().admin_socket(), 0660, *group); !status)
    return status;
  start(io, serve_peers(host, peer_server));
  spdlog::info("remusd {} on {}: {}", REMUS_VERSION, host.config().host,
               host.config().admin_socket().string());
  notify_ready();
  io.run();
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"remusd: protects this host's guests and keeps standbys for other hosts' guests"};
  std::string file{"/etc/remus/remus.toml"};
  std::string level;
  bool check = false;
  app.add_option("--config", file, "configuration file")->capture_default_str();
  app.add_option("--log-level", level, "instead of log.level: trace, debug, info, warn, error");
  app.add_flag("--check", check, "read the configuration, say whether it is good, and end");
  app.set_version_flag("--version", std::string{"remusd "} + REMUS_VERSION);
  CLI11_PARSE(app, argc, argv);

  spdlog::set_default_logger(spdlog::stderr_logger_mt("remusd"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  auto config = load_config(file);
  if (!config) {
    fmt::print(stderr, "remusd: {}\n", config.error().text());
    return 2;
  }
  if (check) {
    fmt::print("{} is good\n", file);
    return 0;
  }
  if (!level.empty()) config->log_level = level;
  spdlog::set_level(spdlog::level::from_str(config->log_level));
  std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): cannot fail for these arguments
  try {
    if (auto status = serve(std::move(*config)); !status) {
      spdlog::critical("{}", status.error().text());
      return 1;
    }
  } catch (const std::exception& problem) {
    spdlog::critical("a fault of remusd: {}; guards go on", problem.what());
    return 70;
  }
  return 0;
}
