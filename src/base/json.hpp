// JSON from outside. A value nested a hundred thousand deep fits into a small request and exhausts the stack
// of whoever copies or destroys it; nothing of ours nests deeper than a few levels, so such a value is
// refused while it is read.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace remus {

inline constexpr int json_depth_max = 64;

/// The value; discarded (is_discarded()) if the text is not JSON or nests deeper than json_depth_max.
[[nodiscard]] nlohmann::json parse_json(std::string_view text);

}  // namespace remus
