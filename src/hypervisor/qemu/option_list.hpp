// One argument of a QEMU option, e.g. "tap,id=n0,ifname=tap0,script=no" or its JSON form
// {"type":"tap","id":"n0"}.
//
// QEMU's rules: commas separate, a doubled comma is a comma of the value, the first part may lack its key
// (the option's implied one), a bare word means word=on. JSON form keeps nested values whole.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace remus::hypervisor::qemu {

class OptionList final {
 public:
  OptionList() = default;
  /// `implied_key` names the first part's key if it has none ("" if the option has no implied key).
  static OptionList parse(std::string_view text, std::string_view implied_key);

  [[nodiscard]] std::optional<std::string> get(std::string_view key) const;
  [[nodiscard]] std::string get_or(std::string_view key, std::string_view otherwise) const;
  [[nodiscard]] bool has(std::string_view key) const { return get(key).has_value(); }
  /// Whether a switch is on: "on", "yes", "true" or the bare word.
  [[nodiscard]] bool is_on(std::string_view key) const;
  void set(std::string_view key, std::string_view value);
  void set_size(std::string_view key, std::uint64_t value);
  void erase(std::string_view key);
  /// Removes every key that begins with `prefix`.
  void erase_prefix(std::string_view prefix);
  [[nodiscard]] bool is_json() const noexcept { return json_.is_object(); }
  [[nodiscard]] std::vector<std::string> keys() const;
  [[nodiscard]] std::string text() const;

 private:
  struct Part {
    std::string key;
    std::string value;
    bool bare;     ///< written without "=value"
    bool implied;  ///< written without "key="
  };
  std::vector<Part> parts_{};
  nlohmann::json json_{};
};

}  // namespace remus::hypervisor::qemu
