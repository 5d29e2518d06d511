#include "guard/disk_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "link/messages.hpp"

namespace remus::guard {
namespace {

constexpr std::size_t name_bytes_max = 255;
constexpr std::size_t path_bytes_max = 4095;  // PATH_MAX without its NUL

constexpr std::array modes{std::pair{DiskMode::replicate, std::string_view{"replicate"}},
                           std::pair{DiskMode::shared, std::string_view{"shared"}},
                           std::pair{DiskMode::external, std::string_view{"external"}},
                           std::pair{DiskMode::scratch, std::string_view{"scratch"}}};
constexpr std::string_view modes_fix = "use replicate, shared, external or scratch";
constexpr std::string_view form_fix =
    "write it like vda, vda=shared or vda=replicate,target=/srv/vm/vda.raw,overwrite";

auto mode_into(DiskMode& out) {
  return [&out](const nlohmann::json& value, const Where& where) -> Status {
    if (const auto mode =
            value.is_string() ? disk_mode_named(value.get_ref<const std::string&>()) : std::nullopt) {
      out = *mode;
      return {};
    }
    return where.fail(fmt::format("{} is not what can be done with a disk", value.dump()),
                      std::string{modes_fix});
  };
}

bool has_control_characters(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; });
}

/// What goes into JSON must be. A command line need not be.
bool is_utf8(const std::string& text) {
  const auto written = nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return nlohmann::json::parse(written).get<std::string>() == text;
}

Status validate_name(const DiskOption& disk, const Where& where) {
  if (disk.name.empty()) return where.fail("a disk without a name", std::string{form_fix});
  if (disk.name.size() > name_bytes_max)
    return where.fail(fmt::format("a disk's name of {} bytes", disk.name.size()),
                      fmt::format("at most {}", name_bytes_max));
  if (has_control_characters(disk.name)) return where.fail("a disk's name with control characters");
  return {};
}

Status validate_target(const DiskOption& disk, const Where& where) {
  if (disk.mode != DiskMode::replicate) {
    if (disk.target.empty() && !disk.overwrite) return {};
    return where.fail(fmt::format(
        "disk '{}' is {}: Remus writes no replica of it, so it takes neither target nor overwrite", disk.name,
        to_string(disk.mode)));
  }
  const std::string& target = disk.target;
  if (target.empty()) return {};
  if (target.front() != '/' || target.back() == '/' || target.size() > path_bytes_max ||
      has_control_characters(target))
    return where.fail(
        fmt::format("the target of disk '{}' is not the absolute path of a file or device", disk.name),
        "write it like /srv/vm/vda.raw");
  return {};
}

}  // namespace

std::string_view to_string(DiskMode mode) noexcept {
  for (const auto& [known, name] : modes)
    if (known == mode) return name;
  return "unknown";
}

std::optional<DiskMode> disk_mode_named(std::string_view text) noexcept {
  for (const auto& [mode, name] : modes)
    if (name == text) return mode;
  return std::nullopt;
}

std::vector<std::string> disk_names(const std::vector<DiskOption>& disks, DiskMode mode) {
  std::vector<std::string> names;
  for (const auto& disk : disks)
    if (disk.mode == mode) names.push_back(disk.name);
  return names;
}

nlohmann::json to_json(const std::vector<DiskOption>& disks) {
  auto out = nlohmann::json::array();
  for (const auto& disk : disks)
    out.push_back({{"name", disk.name},
                   {"mode", to_string(disk.mode)},
                   {"target", disk.target},
                   {"overwrite", disk.overwrite}});
  return out;
}

Status read_disks(const nlohmann::json& value, const Where& where, std::vector<DiskOption>& out) {
  if (!value.is_array()) return where.fail(R"(expected a list of disks such as [{"name": "vda"}])");
  std::vector<DiskOption> disks;
  for (const auto& item : value) {
    DiskOption disk;
    StrictObject object{item, where.at(std::to_string(disks.size()))};
    object.read("name", disk.name, Need::required)
        .read_with("mode", mode_into(disk.mode))
        .read("target", disk.target)
        .read("overwrite", disk.overwrite);
    if (auto status = object.finish(); !status) return status;
    disks.push_back(std::move(disk));
  }
  out = std::move(disks);
  return {};
}

Result<DiskOption> parse_disk_option(std::string_view text) {
  const Where where{"disk"};
  if (!is_utf8(std::string{text})) return where.fail("its name or target is not UTF-8");
  constexpr std::string_view target_is = "target=";
  DiskOption disk;
  auto comma = std::min(text.find(','), text.size());
  const std::string_view first = text.substr(0, comma);
  const auto equals = std::min(first.find('='), first.size());
  disk.name = first.substr(0, equals);
  if (equals < first.size()) {
    const auto mode = disk_mode_named(first.substr(equals + 1));
    if (!mode)
      return where.fail(fmt::format("'{}' is not what can be done with a disk", first.substr(equals + 1)),
                        std::string{modes_fix});
    disk.mode = *mode;
  }
  while (comma < text.size()) {
    text.remove_prefix(comma + 1);
    comma = std::min(text.find(','), text.size());
    const std::string_view word = text.substr(0, comma);
    if (word == "overwrite")
      disk.overwrite = true;
    else if (word.starts_with(target_is) && word.size() > target_is.size() && disk.target.empty())
      disk.target = word.substr(target_is.size());
    else
      return where.fail(fmt::format("'{}' is not understood", word), std::string{form_fix});
  }
  if (auto status = validate_disks({disk}, where); !status) return std::unexpected(status.error());
  return disk;
}

Status validate_disks(const std::vector<DiskOption>& disks, const Where& where) {
  if (disks.size() > link::disks_max)
    return where.fail(fmt::format("{} disks", disks.size()),
                      fmt::format("a guest may have {}", link::disks_max));
  std::set<std::string_view> names;
  std::set<std::string_view> targets;
  for (const auto& disk : disks) {
    if (auto status = validate_name(disk, where); !status) return status;
    if (auto status = validate_target(disk, where); !status) return status;
    if (!names.insert(disk.name).second)
      return where.fail(fmt::format("disk '{}' is named twice", disk.name));
    if (!disk.target.empty() && !targets.insert(disk.target).second)
      return where.fail(fmt::format("two disks have the target '{}'", disk.target), "give each its own");
  }
  return {};
}

}  // namespace remus::guard
