// How our interfaces are named, and what they say of themselves, so that a later guard can take them away.
//
// Name: "rms" and what tells the guest's interface apart, e.g. vif12.0-emu → rms12.0e. Domain numbers are unique on a
// host; a name that would not fit, or an interface with a name of the user's, gets a hash instead. The alias names the
// guest and the interface, and whether the latter's ingress qdisc is ours: "remus web1 vif12.0 own".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace remus::output {

inline constexpr std::size_t interface_name_chars_max = 15;
inline constexpr std::string_view plug_name_prefix = "rms";

[[nodiscard]] std::string plug_name_for(std::string_view interface);

struct PlugAlias {
  std::string guest{};
  std::string interface {};
  bool own_ingress{};  ///< the ingress qdisc was added by us
  bool operator==(const PlugAlias&) const = default;
};

[[nodiscard]] std::string to_text(const PlugAlias& alias);
/// Nothing if it is not an alias of ours.
[[nodiscard]] std::optional<PlugAlias> parse_plug_alias(std::string_view text);

}  // namespace remus::output
