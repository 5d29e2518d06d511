// Prometheus' text format, written by hand: a dozen gauges out of documents we have anyway need no client
// library, which would bring a second HTTP server and a second copy of every number.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace remus::daemon {

/// `guests`: what Host::guests() says.
[[nodiscard]] std::string metrics_text(const nlohmann::json& guests);

}  // namespace remus::daemon
