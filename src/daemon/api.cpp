#include "daemon/api.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <memory>
#include <utility>

#include "daemon/doctor.hpp"
#include "daemon/doctor_xen.hpp"
#include "daemon/metrics.hpp"
#include "guard/strict_json.hpp"

namespace remus::daemon {
namespace {

using guard::Need;
using guard::StrictObject;
using guard::Where;
using nlohmann::json;

using Answer = Result<json>;

/// For handlers that need not wait.
auto now(std::function<Answer(const Routed&)> handler) {
  return [handler = std::move(handler)](Routed routed) -> Task<Answer> { co_return handler(routed); };
}

Result<bool> flag(const Routed& routed, const std::string& name) {
  const auto found = routed.request.query.find(name);
  if (found == routed.request.query.end() || found->second == "false") return false;
  if (found->second == "true") return true;
  return fail(Errc::invalid, fmt::format("{}={} is neither true nor false", name, found->second));
}

Result<std::uint64_t> number(const Routed& routed, const std::string& name) {
  const auto found = routed.request.query.find(name);
  if (found == routed.request.query.end()) return 0;
  std::uint64_t out{};
  const auto& text = found->second;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (code != std::errc{} || end != text.data() + text.size())
    return fail(Errc::invalid, fmt::format("{}={} is not a number", name, text));
  return out;
}

Result<ProtectRequest> read_protect(const json& body) {
  ProtectRequest out;
  StrictObject object{body, Where{}};
  object.read("name", out.guest, Need::required)
      .read("to", out.to, Need::required)
      .read("qmp", out.qmp)
      .read("dry_run", out.dry_run)
      .read_with("options", [&](const json& options, const Where&) -> Status {
        out.options = options;
        return {};
      });
  if (auto status = object.finish(); !status) return std::unexpected(status.error());
  return out;
}

Result<Peer> read_peer(const json& body, std::uint16_t default_port) {
  Peer out;
  std::vector<std::string> addresses;
  StrictObject object{body, Where{}};
  object.read("name", out.name, Need::required).read("addresses", addresses, Need::required);
  if (auto status = object.finish(); !status) return std::unexpected(status.error());
  for (const auto& text : addresses) {
    auto endpoint = parse_peer_address(text, default_port);
    if (!endpoint) return std::unexpected(endpoint.error());
    out.addresses.push_back(std::move(*endpoint));
  }
  return out;
}

void add_guests(Router& router, Host& host) {
  router.json("GET", "/v1/guests", [&host](Routed) -> Task<Answer> {
    co_await host.look_again();
    auto out = json::object();
    out["guests"] = host.guests();
    co_return out;
  });
  router.json("POST", "/v1/guests", [&host](Routed routed) -> Task<Answer> {
    auto request = read_protect(routed.body);
    if (!request) co_return std::unexpected(request.error());
    co_return co_await host.protect(std::move(*request));
  });
  router.json("GET", "/v1/guests/{name}", [&host](Routed routed) -> Task<Answer> {
    std::string name = routed.names[0];
    co_await host.look_again(name);
    co_return host.guest(name);
  });
  router.json("DELETE", "/v1/guests/{name}", [&host](Routed routed) -> Task<Answer> {
    const auto force = flag(routed, "force");
    if (!force) co_return std::unexpected(force.error());
    std::string name = routed.names[0];
    co_return co_await host.unprotect(std::move(name), *force);
  });
  router.json("PATCH", "/v1/guests/{name}", [&host](Routed routed) -> Task<Answer> {
    std::string name = routed.names[0];
    json changes = routed.body;
    co_return co_await host.adjust(std::move(name), std::move(changes));
  });
  router.json("POST", "/v1/guests/{name}/failover", [&host](Routed routed) -> Task<Answer> {
    bool force = false;
    StrictObject object{routed.body, Where{}};
    object.read("force", force);
    if (auto status = object.finish(); !status) co_return std::unexpected(status.error());
    std::string name = routed.names[0];
    co_return co_await host.failover(std::move(name), force);
  });
  router.json("POST", "/v1/guests/{name}/verify", [&host](Routed routed) -> Task<Answer> {
    std::string name = routed.names[0];
    json request = routed.body.is_null() ? json::object() : routed.body;  // its guard reads it, strictly
    co_return co_await host.verify(std::move(name), std::move(request));
  });
}

void add_peers(Router& router, Host& host) {
  router.json("GET", "/v1/peers", [&host](Routed) -> Task<Answer> {
    auto out = json::object();
    out["peers"] = co_await host.peer_states();
    co_return out;
  });
  router.json("POST", "/v1/peers", now([&host](const Routed& routed) -> Answer {
                auto peer = read_peer(routed.body, host.config().peer_port);
                if (!peer) return std::unexpected(peer.error());
                if (auto status = host.peers().add(std::move(*peer)); !status)
                  return std::unexpected(status.error());
                return host.describe();
              }));
  router.json("DELETE", "/v1/peers/{name}", now([&host](const Routed& routed) -> Answer {
                if (auto status = host.remove_peer(routed.names[0]); !status)
                  return std::unexpected(status.error());
                return host.describe();
              }));
}

Task<void> events(Host& host, Routed routed, http::Responder responder) {
  const auto follow = flag(routed, "follow");
  const auto after = number(routed, "after");
  if (!follow) co_return responder.fail(follow.error());
  if (!after) co_return responder.fail(after.error());
  const auto guest = routed.request.query.find("guest");
  std::string name = guest == routed.request.query.end() ? std::string{} : guest->second;
  if (*follow)
    co_return host.events().follow(responder.stream("application/x-ndjson"), *after, std::move(name));
  co_await host.look_again(name);  // what the guards noticed a moment ago belongs to it
  auto out = json::object();
  out["events"] = host.events().list(*after, name);
  http::Response response;
  response.body = out.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  responder.reply(std::move(response));
}

/// On a thread of its own: the checks run programs and bind ports, and host reports must not wait for that.
Task<std::vector<doctor::Check>> examine_aside(boost::asio::thread_pool& pool, Config config) {
  auto work = [](Config copy) -> Task<std::vector<doctor::Check>> {
    co_return doctor::examine(copy, doctor::real_probes(), true);
  };
  auto task = work(std::move(config));
  co_return co_await boost::asio::co_spawn(pool, std::move(task), boost::asio::use_awaitable);
}

}  // namespace

Router admin_routes(Host& host) {
  Router router;
  router.json("GET", "/v1/health", now([](const Routed&) -> Answer {
                return json{{"ok", true}, {"version", REMUS_VERSION}};
              }));
  router.json("GET", "/v1/host", now([&host](const Routed&) -> Answer { return host.describe(); }));
  const auto pool = std::make_shared<boost::asio::thread_pool>(1);
  router.json("GET", "/v1/doctor", [&host, pool](Routed) -> Task<Answer> {
    auto peers = co_await host.peer_states();
    auto checks = co_await examine_aside(*pool, host.config());
    doctor::add_peers(checks, peers, host.guests());
    if (const auto xen = hypervisor::xen::xen_facts()) {
      auto more = doctor::judge_xen_peers(xen->version, peers, host.guests());
      checks.insert(checks.end(), more.begin(), more.end());
    }
    co_return doctor::to_json(checks);
  });
  router.raw("GET", "/v1/metrics", [&host](const Routed&, const http::Responder& responder) {
    http::Response response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = metrics_text(host.guests());
    responder.reply(std::move(response));
  });
  router.raw("GET", "/v1/events", [&host](Routed routed, http::Responder responder) {
    auto task = events(host, std::move(routed), std::move(responder));
    start(host.io(), std::move(task));
  });
  add_guests(router, host);
  add_peers(router, host);
  return router;
}

Result<std::string> peer_name(Host& host, const http::Request& request) {
  const auto& peer = request.peer;
  if (peer.kind != http::PeerIdentity::Kind::tls || peer.host.empty())
    return fail(Errc::denied, "a peer shows itself by its certificate");
  if (host.peers().find(peer.host) == nullptr)
    return fail(Errc::denied,
                fmt::format("'{}' is enrolled but not a peer of {}", peer.host, host.config().host),
                fmt::format("on {}: remus host add {} ADDRESS", host.config().host, peer.host));
  return peer.host;
}

Router peer_routes(Host& host) {
  Router router;
  router.json("GET", "/v1/peer/hello", now([&host](const Routed& routed) -> Answer {
                auto from = peer_name(host, routed.request);
                if (!from) return std::unexpected(from.error());
                return host.hello();
              }));
  router.json("POST", "/v1/peer/standbys", [&host](Routed routed) -> Task<Answer> {
    auto from = peer_name(host, routed.request);
    if (!from) co_return std::unexpected(from.error());
    json body = routed.body;
    co_return co_await host.prepare_standby(std::move(*from), std::move(body));
  });
  router.json("DELETE", "/v1/peer/standbys/{name}", [&host](Routed routed) -> Task<Answer> {
    auto from = peer_name(host, routed.request);
    if (!from) co_return std::unexpected(from.error());
    std::string name = routed.names[0];
    co_return co_await host.discard_standby(std::move(*from), std::move(name));
  });
  router.json("GET", "/v1/peer/guests/{name}/report", now([&host](const Routed& routed) -> Answer {
                auto from = peer_name(host, routed.request);
                if (!from) return std::unexpected(from.error());
                return host.report(*from, routed.names[0]);
              }));
  return router;
}

}  // namespace remus::daemon
