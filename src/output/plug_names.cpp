#include "output/plug_names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace remus::output {
namespace {

constexpr std::string_view alias_word = "remus";

std::uint64_t hash_of(std::string_view text) noexcept {  // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

/// "12.0" of vif12.0, "12.0e" of vif12.0-emu; empty for any other name.
std::string short_form(std::string_view interface) {
  if (!interface.starts_with("vif")) return {};
  interface.remove_prefix(3);
  constexpr std::string_view emulated = "-emu";
  const bool emu = interface.ends_with(emulated);
  if (emu) interface.remove_suffix(emulated.size());
  const auto dot = interface.find('.');
  const auto digits = [](std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  };
  if (dot == std::string_view::npos || !digits(interface.substr(0, dot)) ||
      !digits(interface.substr(dot + 1)))
    return {};
  return std::string{interface} + (emu ? "e" : "");
}

std::string_view next_word(std::string_view& text) {
  const auto end = std::min(text.find(' '), text.size());
  const auto word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

}  // namespace

std::string plug_name_for(std::string_view interface) {
  if (const auto form = short_form(interface);
      !form.empty() && plug_name_prefix.size() + form.size() <= interface_name_chars_max)
    return fmt::format("{}{}", plug_name_prefix, form);
  // 11 hexadecimal digits fill the name: two of a host's interfaces do not meet.
  return fmt::format("{}-{:011x}", plug_name_prefix, hash_of(interface) & 0xfff'ffff'ffffULL);
}

std::string to_text(const PlugAlias& alias) {
  return fmt::format("{} {} {}{}", alias_word, alias.guest, alias.interface, alias.own_ingress ? " own" : "");
}

std::optional<PlugAlias> parse_plug_alias(std::string_view text) {
  if (next_word(text) != alias_word) return std::nullopt;
  PlugAlias alias;
  alias.guest = next_word(text);
  alias.interface = next_word(text);
  const auto last = next_word(text);
  alias.own_ingress = last == "own";
  if (alias.guest.empty() || alias.interface.empty() || !(last.empty() || alias.own_ingress) || !text.empty())
    return std::nullopt;
  return alias;
}

}  // namespace remus::output
