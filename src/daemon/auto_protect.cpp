#include "daemon/auto_protect.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/files.hpp"
#include "base/json.hpp"
#include "daemon/json_fields.hpp"
#include "guard/options.hpp"
#include "guard/spec.hpp"

namespace remus::daemon {

using nlohmann::json;
using std::chrono::seconds;

namespace {

constexpr seconds retry_min{5};
constexpr seconds retry_max{300};
constexpr unsigned doublings_max = 6;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

/// The words between commas and line ends, comments taken out.
std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const auto line_end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, line_end);
    text.remove_prefix(std::min(line_end + 1, text.size()));
    line = line.substr(0, line.find('#'));
    while (!line.empty()) {
      const auto comma = std::min(line.find(','), line.size());
      if (const auto word = trimmed(line.substr(0, comma)); !word.empty()) out.push_back(word);
      line.remove_prefix(std::min(comma + 1, line.size()));
    }
  }
  return out;
}

/// Numbers are numbers in the admin API, everything else is text there.
json value_of(std::string_view key, std::string_view value) {
  if (key == "max_overhead" || key == "max_epochs_in_flight") {
    auto number = parse_json(value);
    if (number.is_number()) return number;
  }
  return value;
}

}  // namespace

Result<AutoProtect> parse_auto_protect(std::string_view words) {
  AutoProtect out{.to = {}, .options = json::object()};
  std::vector<guard::DiskOption> disks;
  json bridges = json::object();
  unsigned number = 1;
  for (const auto word : split(words)) {
    // No option has other characters, and what is said of a word must be text.
    if (!std::ranges::all_of(word, [](char c) { return c >= ' ' && c <= '~'; }))
      return fail(Errc::invalid, fmt::format("its word number {} is not plain text", number),
                  "write the options of `remus protect` without dashes: to=hostB,max-latency=25ms");
    ++number;
    const auto equals = word.find('=');
    std::string key{trimmed(word.substr(0, equals))};
    const auto value =
        equals == std::string_view::npos ? std::string_view{} : trimmed(word.substr(equals + 1));
    if (key.empty() || value.empty())
      return fail(Errc::invalid, fmt::format("'{}' is not KEY=VALUE", word),
                  "write the options of `remus protect` without dashes: to=hostB,max-latency=25ms");
    std::ranges::replace(key, '-', '_');
    if (key == "to") {
      if (!out.to.empty())
        return fail(Errc::invalid, "'to' is given twice", "a guest is protected to one host");
      if (auto good = guard::validate_host_name(value); !good) return std::unexpected(good.error());
      out.to = value;
    } else if (key == "disk") {
      auto disk = guard::parse_disk_option(value);
      if (!disk) return std::unexpected(disk.error());
      disks.push_back(std::move(*disk));
    } else if (key == "bridge") {
      const auto middle = value.find('=');
      if (middle == std::string_view::npos || middle == 0 || middle + 1 == value.size())
        return fail(Errc::invalid, fmt::format("'{}' is not bridge=HERE=THERE", word));
      if (!bridges.emplace(value.substr(0, middle), value.substr(middle + 1)).second)
        return fail(Errc::invalid,
                    fmt::format("bridge '{}' of this host is given twice", value.substr(0, middle)));
    } else if (key == "bridges" || key == "disks") {
      return fail(Errc::invalid, fmt::format("'{}' is no option", key),
                  "name them one by one: bridge=HERE=THERE, disk=NAME=MODE");
    } else if (out.options.contains(key)) {
      return fail(Errc::invalid, fmt::format("'{}' is given twice", trimmed(word.substr(0, equals))));
    } else {
      out.options[key] = value_of(key, value);
    }
  }
  if (!bridges.empty()) out.options["bridges"] = std::move(bridges);
  if (!disks.empty()) out.options["disks"] = guard::to_json(disks);
  if (out.to.empty()) return fail(Errc::invalid, "it is not said to which host", "add to=HOST");
  if (auto options = guard::options_from_json(out.options); !options) return std::unexpected(options.error());
  return out;
}

void HeededWishes::load() {
  const auto kept = read_json(file_);
  if (!kept || !kept->is_array()) return;
  for (const auto& entry : *kept) {
    const DomainLifeKey domain{static_cast<std::uint32_t>(number_at(entry, "domid")), text_at(entry, "uuid")};
    if (domain.domid != 0 && !domain.uuid.empty()) domains_[domain].done = true;
  }
}

bool HeededWishes::due(const DomainLifeKey& domain, Clock::time_point now) const {
  const auto found = domains_.find(domain);
  return found == domains_.end() || (!found->second.done && now >= found->second.next_try);
}

Status HeededWishes::done(const DomainLifeKey& domain) {
  domains_[domain].done = true;
  return save();
}

void HeededWishes::failed(const DomainLifeKey& domain, Clock::time_point now) {
  State& state = domains_[domain];
  state.next_try = now + std::min(retry_max, retry_min * (1U << std::min(state.failures, doublings_max)));
  ++state.failures;
}

void HeededWishes::keep_only(const std::vector<DomainLifeKey>& living) {
  std::erase_if(domains_,
                [&](const auto& entry) { return std::ranges::find(living, entry.first) == living.end(); });
}

Status HeededWishes::save() const {
  auto out = json::array();
  for (const auto& [domain, state] : domains_)
    if (state.done) out.push_back({{"domid", domain.domid}, {"uuid", domain.uuid}});
  return write_atomically(file_, out.dump() + "\n", 0600, Survives::our_death);
}

}  // namespace remus::daemon
