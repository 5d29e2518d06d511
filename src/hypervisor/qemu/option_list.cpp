#include "hypervisor/qemu/option_list.hpp"

#include <algorithm>

#include "base/json.hpp"

namespace remus::hypervisor::qemu {

namespace {

std::string doubled(std::string_view value) {
  std::string out;
  for (const char c : value) out.append(c == ',' ? 2 : 1, c);
  return out;
}

/// Splits at single commas; doubled ones become one comma of the value.
std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ',') {
      parts.back() += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == ',') {
      parts.back() += ',';
      ++i;
    } else {
      parts.emplace_back();
    }
  }
  return parts;
}

std::string scalar(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "on" : "off";
  return value.dump();
}

}  // namespace

OptionList OptionList::parse(std::string_view text, std::string_view implied_key) {
  OptionList out;
  if (!text.empty() && text.front() == '{') {
    out.json_ = parse_json(text);
    if (out.json_.is_object()) return out;
    out.json_ = nullptr;
  }
  bool first = true;
  for (auto& part : split(text)) {
    const auto equals = part.find('=');
    if (equals != std::string::npos) {
      out.parts_.push_back({part.substr(0, equals), part.substr(equals + 1), false, false});
    } else if (first && !implied_key.empty()) {
      out.parts_.push_back({std::string{implied_key}, std::move(part), false, true});
    } else if (!part.empty()) {
      out.parts_.push_back({std::move(part), "on", true, false});
    }
    first = false;
  }
  return out;
}

std::optional<std::string> OptionList::get(std::string_view key) const {
  if (is_json()) {
    const auto found = json_.find(key);
    if (found == json_.end()) return std::nullopt;
    return scalar(*found);
  }
  // The last one wins, as in QEMU.
  const auto found =
      std::find_if(parts_.rbegin(), parts_.rend(), [&](const Part& part) { return part.key == key; });
  if (found == parts_.rend()) return std::nullopt;
  return found->value;
}

std::string OptionList::get_or(std::string_view key, std::string_view otherwise) const {
  return get(key).value_or(std::string{otherwise});
}

bool OptionList::is_on(std::string_view key) const {
  const auto value = get(key);
  return value && (*value == "on" || *value == "yes" || *value == "true" || *value == "y");
}

void OptionList::set(std::string_view key, std::string_view value) {
  if (is_json()) {
    json_[std::string{key}] = value;
    return;
  }
  const auto found = std::ranges::find(parts_, key, &Part::key);
  if (found == parts_.end()) {
    parts_.push_back({std::string{key}, std::string{value}, false, false});
    return;
  }
  found->value = value;
  found->bare = false;
  const auto more =
      std::remove_if(found + 1, parts_.end(), [&](const Part& part) { return part.key == key; });
  parts_.erase(more, parts_.end());
}

void OptionList::set_size(std::string_view key, std::uint64_t value) {
  if (is_json()) {
    json_[std::string{key}] = value;
  } else {
    set(key, std::to_string(value));
  }
}

void OptionList::erase(std::string_view key) {
  if (is_json()) {
    json_.erase(std::string{key});
  } else {
    std::erase_if(parts_, [&](const Part& part) { return part.key == key; });
  }
}

void OptionList::erase_prefix(std::string_view prefix) {
  for (const auto& key : keys())
    if (key.starts_with(prefix)) erase(key);
}

std::vector<std::string> OptionList::keys() const {
  std::vector<std::string> out;
  if (is_json()) {
    for (const auto& [key, value] : json_.items()) out.push_back(key);
  } else {
    for (const auto& part : parts_) out.push_back(part.key);
  }
  return out;
}

std::string OptionList::text() const {
  if (is_json()) return json_.dump();
  std::string out;
  for (const auto& part : parts_) {
    if (&part != &parts_.front()) out += ',';
    if (part.bare) {
      out += doubled(part.key);
    } else if (part.implied && &part == &parts_.front()) {
      out += doubled(part.value);
    } else {
      out += doubled(part.key) + '=' + doubled(part.value);
    }
  }
  // What began like JSON but was none must not become JSON by the writing; an empty last part says nothing.
  if (out.starts_with('{')) out += ',';
  return out;
}

}  // namespace remus::hypervisor::qemu
