#include "guard/strict_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/units.hpp"

namespace remus::guard {
namespace {

std::string_view type_words(const nlohmann::json& value) {
  switch (value.type()) {
    case nlohmann::json::value_t::null: return "nothing";
    case nlohmann::json::value_t::object: return "a table";
    case nlohmann::json::value_t::array: return "a list";
    case nlohmann::json::value_t::string: return "a text";
    case nlohmann::json::value_t::boolean: return "true or false";
    case nlohmann::json::value_t::number_integer:
    case nlohmann::json::value_t::number_unsigned: return "a whole number";
    case nlohmann::json::value_t::number_float: return "a number";
    default: return "something else";
  }
}

std::unexpected<Error> wrong_type(const nlohmann::json& value, const Where& where,
                                  std::string_view expected) {
  return where.fail(fmt::format("expected {}, found {}", expected, type_words(value)));
}

template <typename Out, typename Parse>
Status read_text(const nlohmann::json& value, Out& out, const Where& where, std::string_view expected,
                 Parse parse) {
  if (!value.is_string()) return wrong_type(value, where, expected);
  auto parsed = parse(value.get_ref<const std::string&>());
  if (!parsed) return where.fail(parsed.error().what, parsed.error().fix);
  out = *parsed;
  return {};
}

std::size_t edits_between(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

Where Where::at(std::string_view key) const {
  return {path.empty() ? std::string{key} : fmt::format("{}.{}", path, key), locate};
}

std::unexpected<Error> Where::fail(std::string_view text, std::string fix) const {
  std::string place = locate ? locate(path) : std::string{};
  if (!place.empty()) place += ": ";
  return remus::fail(Errc::invalid, fmt::format("{}{}{}{}", place, path, path.empty() ? "" : ": ", text),
                     std::move(fix));
}

StrictObject::StrictObject(const nlohmann::json& value, Where where)
    : value_{value}, where_{std::move(where)} {
  if (!value_.is_object()) note(wrong_type(value_, where_, "a table"));
}

const nlohmann::json* StrictObject::take(std::string_view key, Need need) {
  known_.emplace_back(key);
  if (!value_.is_object()) return nullptr;
  const auto found = value_.find(key);
  if (found != value_.end()) return &*found;
  if (need == Need::required) note(where_.fail(fmt::format("'{}' is missing", key)));
  return nullptr;
}

void StrictObject::note(Status status) {
  if (!status && !problem_) problem_ = std::move(status.error());
}

StrictObject& StrictObject::read_size(std::string_view key, std::uint64_t& out) {
  if (const auto* value = take(key, Need::optional))
    note(read_text(*value, out, where_.at(key), "a size such as \"64MiB\"", parse_size));
  return *this;
}

StrictObject& StrictObject::read_rate(std::string_view key, std::uint64_t& out) {
  if (const auto* value = take(key, Need::optional))
    note(read_text(*value, out, where_.at(key), "a rate such as \"100MiB/s\"", parse_rate));
  return *this;
}

Status StrictObject::finish() {
  if (value_.is_object()) {
    for (const auto& [key, value] : value_.items()) {
      if (std::ranges::find(known_, key) != known_.end()) continue;
      const auto near = nearest(key, known_);
      note(where_.at(key).fail("unknown key", near.empty()
                                                  ? fmt::format("known here: {}", fmt::join(known_, ", "))
                                                  : fmt::format("did you mean '{}'?", near)));
    }
  }
  if (problem_) return std::unexpected(*problem_);
  return {};
}

Status StrictObject::convert(const nlohmann::json& value, bool& out, const Where& where) {
  if (!value.is_boolean()) return wrong_type(value, where, "true or false");
  out = value.get<bool>();
  return {};
}

Status StrictObject::convert(const nlohmann::json& value, std::string& out, const Where& where) {
  if (!value.is_string()) return wrong_type(value, where, "a text");
  out = value.get<std::string>();
  if (out.find('\0') != std::string::npos) return where.fail("a text may not contain NUL");
  return {};
}

Status StrictObject::convert(const nlohmann::json& value, double& out, const Where& where) {
  if (!value.is_number()) return wrong_type(value, where, "a number");
  out = value.get<double>();
  return {};
}

Status StrictObject::convert(const nlohmann::json& value, std::chrono::nanoseconds& out, const Where& where) {
  return read_text(value, out, where, "a duration such as \"50ms\"", parse_duration);
}

Status StrictObject::convert(const nlohmann::json& value, std::vector<std::string>& out, const Where& where) {
  if (!value.is_array()) return wrong_type(value, where, "a list of texts");
  std::vector<std::string> read;
  for (const auto& item : value) {
    std::string text;
    if (auto status = convert(item, text, where); !status) return status;
    read.push_back(std::move(text));
  }
  out = std::move(read);
  return {};
}

Status StrictObject::convert(const nlohmann::json& value, std::map<std::string, std::string>& out,
                             const Where& where) {
  if (!value.is_object()) return wrong_type(value, where, "a table of texts");
  std::map<std::string, std::string> read;
  for (const auto& [key, item] : value.items())
    if (auto status = convert(item, read[key], where.at(key)); !status) return status;
  out = std::move(read);
  return {};
}

Status StrictObject::convert_unsigned(const nlohmann::json& value, std::uint64_t& out, std::uint64_t max,
                                      const Where& where) {
  const bool negative =
      value.is_number_integer() && !value.is_number_unsigned() && value.get<std::int64_t>() < 0;
  if (!value.is_number_integer() || negative)
    return where.fail(fmt::format("expected a whole number from 0 to {}, found {}", max, value.dump()));
  const auto number = value.get<std::uint64_t>();
  if (number > max)
    return where.fail(fmt::format("expected a whole number from 0 to {}, found {}", max, number));
  out = number;
  return {};
}

std::string_view nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string_view best;
  std::size_t best_edits = std::max<std::size_t>(1, std::min(word.size(), std::size_t{64}) / 3) + 1;
  for (const auto& candidate : candidates) {
    if (candidate.size() > 64 || word.size() > 64) continue;
    if (const auto edits = edits_between(word, candidate); edits < best_edits) {
      best_edits = edits;
      best = candidate;
    }
  }
  return best;
}

}  // namespace remus::guard
