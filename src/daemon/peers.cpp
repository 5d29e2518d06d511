#include "daemon/peers.hpp"

#include <fmt/format.h>

#include <utility>

#include "guard/spec.hpp"

namespace remus::daemon {
namespace {

constexpr std::size_t peers_max = 64;

/// Worth trying the next path: nobody answered on this one. Any real answer is final, also one that says of
/// something else that it was unreachable.
bool no_answer(Errc kind) noexcept {
  return kind == Errc::unreachable || kind == Errc::timeout || kind == Errc::closed || kind == Errc::io;
}

}  // namespace

Peers::Peers(boost::asio::io_context& io, const Config& config, const Registry& registry)
    : io_{io}, config_{config}, registry_{registry}, peers_{config.peers} {}
Peers::~Peers() = default;

Status Peers::load() {
  auto added = registry_.load_peers();
  if (!added) return std::unexpected(added.error());
  added_ = std::move(*added);
  for (const auto& [name, peer] : added_) peers_.emplace(name, peer);
  return {};
}

const Peer* Peers::find(const std::string& name) const noexcept {
  const auto found = peers_.find(name);
  return found == peers_.end() ? nullptr : &found->second;
}

bool Peers::configured(const std::string& name) const noexcept {
  return config_.peers.contains(name);
}

Status Peers::add(Peer peer) {
  if (auto status = guard::validate_host_name(peer.name); !status) return status;
  if (peer.name == config_.host)
    return fail(Errc::invalid, fmt::format("'{}' is this host itself", peer.name));
  if (peer.addresses.empty() || peer.addresses.size() > 8)
    return fail(Errc::invalid, fmt::format("{} addresses for '{}'", peer.addresses.size(), peer.name),
                "give 1 to 8");
  if (configured(peer.name))
    return fail(Errc::exists, fmt::format("'{}' is a peer by {}", peer.name, config_.file.string()),
                "change it there");
  if (!peers_.contains(peer.name) && peers_.size() >= peers_max)
    return fail(Errc::exhausted, fmt::format("{} peers are known already", peers_max));
  auto added = added_;
  added[peer.name] = peer;
  if (auto status = registry_.save_peers(added); !status) return status;
  added_ = std::move(added);
  paths_.erase(peer.name);
  peers_[peer.name] = std::move(peer);
  return {};
}

Status Peers::remove(const std::string& name) {
  if (!peers_.contains(name)) return fail(Errc::not_found, fmt::format("no peer '{}' is known", name));
  if (configured(name))
    return fail(Errc::refused, fmt::format("'{}' is a peer by {}", name, config_.file.string()),
                "remove it there and restart remusd");
  auto added = added_;
  added.erase(name);
  if (auto status = registry_.save_peers(added); !status) return status;
  added_ = std::move(added);
  paths_.erase(name);
  peers_.erase(name);
  return {};
}

Result<std::shared_ptr<link::Pki>> Peers::pki() {
  if (!pki_) {
    auto opened = link::Pki::open(config_.dirs.pki);
    if (!opened) return std::unexpected(opened.error());
    if ((*opened)->host() != config_.host)
      return fail(
          Errc::denied,
          fmt::format("the certificate in '{}' is for '{}', but this host's name is '{}'",
                      config_.dirs.pki.string(), (*opened)->host(), config_.host),
          fmt::format("set host.name in remus.toml, or issue one with: remus cert issue {}", config_.host));
    pki_ = std::move(*opened);
  }
  return pki_;
}

Result<Peers::Paths*> Peers::paths_to(const std::string& name) {
  const Peer* peer = find(name);
  if (peer == nullptr)
    return fail(Errc::not_found, fmt::format("no peer '{}' is known", name),
                fmt::format("add it: remus host add {} ADDRESS", name));
  auto identity = pki();
  if (!identity) return std::unexpected(identity.error());
  auto& paths = paths_[name];
  if (paths.paths.empty()) {
    for (const auto& endpoint : peer->addresses) {
      auto path = std::make_shared<Path>();
      path->endpoint = endpoint;
      path->tls = http::TlsEndpoint{link::Address{endpoint.host, endpoint.port}, name, *identity};
      path->client = std::make_unique<http::AsyncClient>(io_, path->tls, 64);
      paths.paths.push_back(std::move(path));
    }
  }
  return &paths;
}

Task<Result<nlohmann::json>> Peers::ask(std::string peer, http::Call call,
                                        std::chrono::milliseconds timeout) {
  auto found = paths_to(peer);
  if (!found) co_return std::unexpected(found.error());
  // Held over the waits: the peer may be removed or given other addresses meanwhile.
  const auto paths = (*found)->paths;
  const std::size_t best = (*found)->best;
  // Building a standby takes seconds. On the kept connection a question that decides about a guest would wait
  // behind it, and a peer that is busy would look like one that is dead.
  const bool short_question = call.method == "GET";
  std::string tried;
  std::string fix = fmt::format("is remusd running on {}, and its peer port open?", peer);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const std::size_t index = (best + i) % paths.size();
    const auto& path = paths[index];
    http::Call copy = call;
    Result<http::Response> answer = http::Response{};
    if (short_question) {
      answer = co_await request(*path->client, std::move(copy), timeout);
    } else {
      http::Endpoint endpoint{path->tls};
      answer = co_await request_once(io_, std::move(endpoint), std::move(copy), timeout);
    }
    if (answer || !no_answer(answer.error().kind)) {
      if (const auto now = paths_.find(peer); now != paths_.end() && now->second.paths == paths) {
        now->second.best = index;
        now->second.answered = true;
      }
      co_return read_answer(answer, call.target);
    }
    tried += fmt::format("{}{} ({})", tried.empty() ? "" : ", ", guard::to_string(path->endpoint),
                         answer.error().what);
    // Whoever closed a connection was there: what helps then is another thing than an open port.
    if (answer.error().kind == Errc::closed && !answer.error().fix.empty()) fix = answer.error().fix;
  }
  co_return fail(Errc::unreachable, fmt::format("{} does not answer on {}", peer, tried), std::move(fix));
}

std::string Peers::last_address(const std::string& peer) const {
  const auto found = paths_.find(peer);
  if (found == paths_.end() || !found->second.answered) return {};
  return guard::to_string(found->second.paths[found->second.best]->endpoint);
}

}  // namespace remus::daemon
