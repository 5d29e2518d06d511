#include "base/json.hpp"

namespace remus {

nlohmann::json parse_json(std::string_view text) {
  using nlohmann::json;
  bool too_deep = false;
  const json::parser_callback_t watch = [&](int depth, json::parse_event_t event, json&) {
    const bool opens =
        event == json::parse_event_t::array_start || event == json::parse_event_t::object_start;
    if (opens && depth >= json_depth_max) too_deep = true;
    return !too_deep;
  };
  json value = json::parse(text.begin(), text.end(), watch, false);
  if (too_deep) return json(json::value_t::discarded);
  return value;
}

}  // namespace remus
