// The other hosts: how to reach their daemons, over whichever path still works.
//
// A peer has one address per path between the hosts. A request goes to the one that answered last; if nobody
// answers there, to the next, until all were tried. All requests between daemons may be repeated without
// harm.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "daemon/config.hpp"
#include "daemon/registry.hpp"
#include "daemon/task.hpp"
#include "link/tls.hpp"

namespace remus::daemon {

class Peers final {
 public:
  Peers(boost::asio::io_context& io, const Config& config, const Registry& registry);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  /// Reads what `remus host add` recorded. Those of remus.toml lead.
  [[nodiscard]] Status load();
  [[nodiscard]] const std::map<std::string, Peer>& all() const noexcept { return peers_; }
  [[nodiscard]] const Peer* find(const std::string& name) const noexcept;
  /// Whether it stands in remus.toml, and so cannot be changed by request.
  [[nodiscard]] bool configured(const std::string& name) const noexcept;
  /// Errors: invalid, exists (configured), exhausted.
  [[nodiscard]] Status add(Peer peer);
  [[nodiscard]] Status remove(const std::string& name);

  /// This host's identity; read when first needed, so that a daemon without certificates starts and can say
  /// so.
  [[nodiscard]] Result<std::shared_ptr<link::Pki>> pki();

  /// `timeout` is for each address.
  [[nodiscard]] Task<Result<nlohmann::json>> ask(std::string peer, http::Call call,
                                                 std::chrono::milliseconds timeout);
  /// The address a request was last answered on; empty: none yet.
  [[nodiscard]] std::string last_address(const std::string& peer) const;

 private:
  struct Path {
    guard::Endpoint endpoint{};
    http::TlsEndpoint tls{};
    std::unique_ptr<http::AsyncClient> client{};  ///< kept connection, for short questions
  };
  struct Paths {
    std::vector<std::shared_ptr<Path>> paths{};
    std::size_t best{};
    bool answered{};
  };
  [[nodiscard]] Result<Paths*> paths_to(const std::string& peer);

  boost::asio::io_context& io_;
  const Config& config_;
  const Registry& registry_;
  std::map<std::string, Peer> peers_{};
  std::map<std::string, Peer> added_{};
  std::map<std::string, Paths> paths_{};
  std::shared_ptr<link::Pki> pki_{};
};

}  // namespace remus::daemon
