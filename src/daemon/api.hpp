// The daemon's two interfaces as routes: for administrators on the unix socket (docs/openapi.yaml), for other
// hosts on the peer port (docs/openapi.yaml too, tag "peer"). Who may ask is settled before any handler: the
// socket's mode and group there, an enrolled certificate carrying the name of a known peer here.
#pragma once

#include "daemon/host.hpp"
#include "daemon/router.hpp"

namespace remus::daemon {

[[nodiscard]] Router admin_routes(Host& host);
[[nodiscard]] Router peer_routes(Host& host);

/// The asking host's name. Errors: denied (no certificate, or a host that is no peer of ours).
[[nodiscard]] Result<std::string> peer_name(Host& host, const http::Request& request);

}  // namespace remus::daemon
