// remus.toml from anywhere: read or refused with a sentence, nothing else. What is accepted must be sound.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "daemon/config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes as text
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const auto config = remus::daemon::parse_config(text, "remus.toml");
  if (!config) {
    if (config.error().what.empty()) std::abort();
    return 0;
  }
  if (!remus::guard::validate(config->defaults)) std::abort();
  if (!remus::guard::validate_host_name(config->host)) std::abort();
  for (const auto& [name, peer] : config->peers)
    if (name == config->host || peer.addresses.empty()) std::abort();
  // What is written of the options is read back.
  const auto options = remus::guard::to_json(config->defaults);
  const auto again = remus::guard::options_from_json(options);
  if (!again || remus::guard::to_json(*again) != options) std::abort();
  return 0;
}
