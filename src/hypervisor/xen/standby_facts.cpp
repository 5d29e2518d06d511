#include "hypervisor/xen/standby_facts.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "hypervisor/xen/base64.hpp"

namespace remus::hypervisor::xen {

namespace fs = std::filesystem;
using json = nlohmann::json;

namespace {

constexpr std::string_view block_prefix = "ram@";

Result<XenVersion> parse_version(std::string_view text) {
  XenVersion out;
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [dot, first] = std::from_chars(begin, end, out.major);
  if (first != std::errc{} || dot == end || *dot != '.' ||
      std::from_chars(dot + 1, end, out.minor).ec != std::errc{})
    return fail(Errc::corrupt, fmt::format("'{}' is not a version of Xen", text));
  return out;
}

/// The elements of an array in a configuration; none if it has no such array.
const json& list_in(const json& config, const char* name) {
  static const json none = json::array();
  const auto found = config.find(name);
  return found != config.end() && found->is_array() ? *found : none;
}

std::string text_in(const json& object, const char* name) {
  if (!object.is_object()) return {};
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

/// Serial numbers, cache modes and the like stay as they are. False: there is no such disk.
bool put_replica(json& config, const std::string& device, const ReplicaPlace& place) {
  const auto disks = config.find("disks");
  if (disks == config.end() || !disks->is_array()) return false;
  for (json& disk : *disks) {
    if (text_in(disk, "vdev") != device) continue;
    disk["pdev_path"] = place.path.native();
    disk["format"] = "raw";
    disk["backend"] = "qdisk";
    disk.erase("script");
    return true;
  }
  return false;
}

/// "ovsbr0.100:101" is a port of Open vSwitch's "ovsbr0".
bool bridge_exists(const std::string& bridge) {
  const auto there = [](const std::string& name) { return fs::exists(fs::path{"/sys/class/net"} / name); };
  return there(bridge) || there(bridge.substr(0, bridge.find_first_of(".:")));
}

}  // namespace

Result<StandbyFacts> read_standby_facts(const GuestDescription& guest) {
  if (guest.hypervisor != "xen")
    return fail(Errc::incompatible,
                fmt::format("the guest runs on '{}', this host's hypervisor is Xen", guest.hypervisor));
  try {
    const json& details = guest.details;
    StandbyFacts out;
    const auto type = details.at("type").get<std::string>();
    if (type != "pv" && type != "pvh" && type != "hvm")
      return fail(Errc::incompatible,
                  fmt::format("domains of type '{}' are not known to this version", type));
    out.pv = type == "pv";
    out.device_model = details.value("device_model", type == "hvm");
    auto version = parse_version(guest.version);
    if (!version) return std::unexpected(version.error());
    out.version = *version;
    out.uuid = details.at("uuid").get<std::string>();
    const json& config = details.at("config");
    out.config = config.is_string() ? json::parse(config.get<std::string>()) : config;
    if (!out.config.at("c_info").is_object())
      return fail(Errc::corrupt, "the primary's domain configuration has no c_info");
    auto records = decode_base64(details.at("static_records").get<std::string>());
    if (!records) return std::unexpected(records.error());
    out.static_records = std::move(*records);
    bool ended = false;
    PvInfo info;
    auto sound = visit_records(out.static_records, [&](const Record& record) -> Status {
      ended = ended || record.type == static_cast<std::uint32_t>(Libxc::static_data_end);
      if (record.type == static_cast<std::uint32_t>(Libxc::x86_pv_info) && record.body.size() == sizeof info)
        std::memcpy(&info, record.body.data(), sizeof info);
      return {};
    });
    if (!sound) return std::unexpected(sound.error());
    if (!ended) return fail(Errc::corrupt, "the primary's static records do not end with STATIC_DATA_END");
    if (out.pv && info.guest_width_bytes != 8 && info.guest_width_bytes != 4)
      return fail(Errc::corrupt, "the primary does not tell its paravirtual guest's word size");
    out.pv_width_bytes = info.guest_width_bytes;
    return out;
  } catch (const json::exception& error) {
    return fail(Errc::corrupt,
                fmt::format("the primary's description of the domain is damaged: {}", error.what()));
  }
}

Result<json> config_for_this_host(const StandbyFacts& facts, const std::string& name,
                                  const std::map<std::string, std::string>& bridges,
                                  const std::map<std::string, ReplicaPlace>& replicas) {
  json config = facts.config;
  config["c_info"]["name"] = name;
  config["c_info"].erase("domid");
  if (const auto nics = config.find("nics"); nics != config.end() && nics->is_array())
    for (json& nic : *nics)
      if (const auto mapped = bridges.find(text_in(nic, "bridge")); mapped != bridges.end())
        nic["bridge"] = mapped->second;
  for (const auto& [device, place] : replicas)
    if (!put_replica(config, device, place))
      return fail(Errc::corrupt, fmt::format("the primary's domain configuration has no disk '{}'", device));
  return config;
}

HostNeeds host_needs(const json& config) {
  HostNeeds out;
  for (const json& nic : list_in(config, "nics"))
    if (const auto bridge = text_in(nic, "bridge"); !bridge.empty() && !bridge_exists(bridge))
      out.missing.push_back(fmt::format("bridge '{}'", bridge));
  for (const json& disk : list_in(config, "disks")) {
    const auto path = text_in(disk, "pdev_path");
    // A block script gives the path a meaning of its own.
    if (!path.starts_with('/') || !text_in(disk, "script").empty()) continue;
    if (std::error_code code; !fs::exists(path, code))
      out.missing.push_back(fmt::format("disk '{}' ({})", path, text_in(disk, "vdev")));
  }
  const auto build = config.find("b_info");
  if (build == config.end()) return out;
  for (const char* what : {"kernel", "ramdisk"})
    if (const auto path = text_in(*build, what); path.starts_with('/'))
      if (std::error_code code; !fs::exists(path, code))
        out.notes.push_back(
            fmt::format("{} '{}' is not here: the guest could not be rebooted on this host", what, path));
  return out;
}

Result<std::uint64_t> first_pfn_of(const checkpoint::Block& block) {
  const std::string_view name = block.name;
  std::uint64_t pfn = 0;
  const char* const end = name.data() + name.size();
  if (!name.starts_with(block_prefix) || name.size() == block_prefix.size())
    return fail(Errc::corrupt, fmt::format("'{}' is no stretch of a Xen guest's memory", block.name));
  const auto [stop, code] = std::from_chars(name.data() + block_prefix.size(), end, pfn, 16);
  if (code != std::errc{} || stop != end || pfn + block.pages() > pfn_mask)
    return fail(Errc::corrupt, fmt::format("'{}' is no stretch of a Xen guest's memory", block.name));
  return pfn;
}

}  // namespace remus::hypervisor::xen
