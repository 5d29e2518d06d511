// Reading JSON objects strictly: a misspelt key must not silently leave a default in force.
//
//   StrictObject object{value, {"spec"}};
//   object.read("guest", spec.guest, Need::required).read("qmp", spec.qmp);
//   if (auto read = object.finish(); !read) return std::unexpected(read.error());
//
// The first problem is kept and reported by finish(), with the path of the key ("spec.options.interval"),
// what was expected there, and for an unknown key the known one that looks most like it.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace remus::guard {

/// Where in a document a value stands. `locate` turns a path into "remus.toml:12:3" where the source is a
/// file.
struct Where {
  std::string path{};
  std::function<std::string(std::string_view path)> locate{};

  [[nodiscard]] Where at(std::string_view key) const;
  /// An Errc::invalid error: "<place>: <path>: <text>".
  [[nodiscard]] std::unexpected<Error> fail(std::string_view text, std::string fix = {}) const;
};

enum class Need { optional, required };

class StrictObject final {
 public:
  StrictObject(const nlohmann::json& value, Where where);

  /// Reads `key` into `out` if it is there. T: bool, std::string, integers (range-checked), double,
  /// std::chrono::nanoseconds ("50ms"), vectors and string maps of strings.
  template <typename T>
  StrictObject& read(std::string_view key, T& out, Need need = Need::optional) {
    if (const auto* value = take(key, need)) note(convert(*value, out, where_.at(key)));
    return *this;
  }
  StrictObject& read_size(std::string_view key, std::uint64_t& out);  ///< "64MiB"
  StrictObject& read_rate(std::string_view key, std::uint64_t& out);  ///< "100MiB/s", "unlimited"

  /// Hands the value of `key` to `reader`, a callable (const json&, const Where&) → Status.
  template <typename Reader>
  StrictObject& read_with(std::string_view key, Reader&& reader, Need need = Need::optional) {
    if (const auto* value = take(key, need)) note(std::forward<Reader>(reader)(*value, where_.at(key)));
    return *this;
  }

  /// The first problem, or the first key nobody asked for.
  [[nodiscard]] Status finish();

 private:
  const nlohmann::json* take(std::string_view key, Need need);
  void note(Status status);

  static Status convert(const nlohmann::json& value, bool& out, const Where& where);
  static Status convert(const nlohmann::json& value, std::string& out, const Where& where);
  static Status convert(const nlohmann::json& value, double& out, const Where& where);
  static Status convert(const nlohmann::json& value, std::chrono::nanoseconds& out, const Where& where);
  static Status convert(const nlohmann::json& value, std::vector<std::string>& out, const Where& where);
  static Status convert(const nlohmann::json& value, std::map<std::string, std::string>& out,
                        const Where& where);
  static Status convert_unsigned(const nlohmann::json& value, std::uint64_t& out, std::uint64_t max,
                                 const Where& where);
  template <std::unsigned_integral T>
  requires(!std::same_as<T, bool>) static Status
      convert(const nlohmann::json& value, T& out, const Where& where) {
    std::uint64_t wide{};
    if (auto status = convert_unsigned(value, wide, std::numeric_limits<T>::max(), where); !status)
      return status;
    out = static_cast<T>(wide);
    return {};
  }

  const nlohmann::json& value_;
  Where where_;
  std::vector<std::string> known_{};
  std::optional<Error> problem_{};
};

/// The candidate that differs from `word` by the fewest edits, if it is near enough to be meant; else empty.
[[nodiscard]] std::string_view nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace remus::guard
