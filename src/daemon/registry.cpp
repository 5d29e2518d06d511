#include "daemon/registry.hpp"

#include <fmt/format.h>

#include <array>
#include <system_error>

#include "base/files.hpp"
#include "guard/strict_json.hpp"

namespace remus::daemon {
namespace {

using guard::Need;
using guard::StrictObject;
using guard::Where;
using nlohmann::json;

constexpr std::array roles{std::pair{Role::primary, std::string_view{"primary"}},
                           std::pair{Role::backup, std::string_view{"backup"}},
                           std::pair{Role::owner, std::string_view{"owner"}}};

}  // namespace

std::string_view to_string(Role role) noexcept {
  for (const auto& [value, name] : roles)
    if (value == role) return name;
  return "unknown";
}

json to_json(const Registration& r) {
  return {{"guest", r.guest},
          {"role", to_string(r.role)},
          {"peer", r.peer},
          {"hypervisor", r.hypervisor},
          {"qmp", r.qmp},
          {"options", guard::to_json(r.options)},
          {"generation", r.generation},
          {"guest_pid", r.guest_pid},
          {"guest_start_ticks", r.guest_start_ticks},
          {"guest_domid", r.guest_domid},
          {"guest_uuid", r.guest_uuid},
          {"description", r.description},
          {"handle", r.handle}};
}

Result<Registration> registration_from_json(const json& value) {
  Registration r;
  StrictObject object{value, Where{"registration"}};
  object.read("guest", r.guest, Need::required)
      .read_with(
          "role",
          [&](const json& role, const Where& where) -> Status {
            for (const auto& [kind, name] : roles) {
              if (role != name) continue;
              r.role = kind;
              return {};
            }
            return where.fail(fmt::format("unknown role {}", role.dump()));
          },
          Need::required)
      .read("peer", r.peer, Need::required)
      .read("hypervisor", r.hypervisor)
      .read("qmp", r.qmp)
      .read_with("options",
                 [&](const json& options, const Where& where) -> Status {
                   auto read = guard::options_from_json(options, {}, where);
                   if (!read) return std::unexpected(read.error());
                   r.options = std::move(*read);
                   return {};
                 })
      .read("generation", r.generation)
      .read("guest_pid", r.guest_pid)
      .read("guest_start_ticks", r.guest_start_ticks)
      .read("guest_domid", r.guest_domid)
      .read("guest_uuid", r.guest_uuid)
      .read_with("description",
                 [&](const json& description, const Where&) -> Status {
                   r.description = description;
                   return {};
                 })
      .read_with("handle", [&](const json& handle, const Where&) -> Status {
        r.handle = handle;
        return {};
      });
  if (auto status = object.finish(); !status) return std::unexpected(status.error());
  if (auto status = guard::validate_guest_name(r.guest); !status) return std::unexpected(status.error());
  return r;
}

std::filesystem::path Registry::file(std::string_view guest) const {
  return dir_ / "guests" / fmt::format("{}.json", guest);
}

Result<std::vector<Registration>> Registry::load(std::vector<Error>& problems) const {
  if (auto status = make_directory(dir_, 0700); !status) return std::unexpected(status.error());
  if (auto status = make_directory(dir_ / "guests", 0700); !status) return std::unexpected(status.error());
  std::vector<Registration> out;
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator{dir_ / "guests", code}) {
    if (entry.path().extension() != ".json") continue;
    auto value = read_json(entry.path());
    auto registration = value ? registration_from_json(*value) : std::unexpected(value.error());
    if (registration)
      out.push_back(std::move(*registration));
    else
      problems.push_back(registration.error().in(entry.path().string()));
  }
  if (code) return fail_errno(code.value(), fmt::format("cannot read '{}'", (dir_ / "guests").string()));
  return out;
}

Status Registry::save(const Registration& registration) const {
  return write_atomically(file(registration.guest), to_json(registration).dump(2) + "\n");
}

Status Registry::remove(std::string_view guest) const {
  return remove_file(file(guest));
}

Result<std::map<std::string, Peer>> Registry::load_peers() const {
  std::map<std::string, Peer> out;
  const auto value = read_json(dir_ / "peers.json");
  if (!value && value.error().kind == Errc::not_found) return out;
  if (!value) return std::unexpected(value.error());
  if (!value->is_object())
    return fail(Errc::corrupt, fmt::format("'{}' is not a table", (dir_ / "peers.json").string()));
  for (const auto& [name, addresses] : value->items()) {
    Peer peer{name, {}};
    for (const auto& address : addresses) {
      auto endpoint = address.is_string() ? guard::parse_endpoint(address.get_ref<const std::string&>())
                                          : fail(Errc::corrupt, "not an address");
      if (!endpoint) return std::unexpected(endpoint.error().in((dir_ / "peers.json").string()));
      peer.addresses.push_back(std::move(*endpoint));
    }
    out.emplace(name, std::move(peer));
  }
  return out;
}

Status Registry::save_peers(const std::map<std::string, Peer>& peers) const {
  json value = json::object();
  for (const auto& [name, peer] : peers) {
    value[name] = json::array();
    for (const auto& endpoint : peer.addresses) value[name].push_back(guard::to_string(endpoint));
  }
  return write_atomically(dir_ / "peers.json", value.dump(2) + "\n");
}

}  // namespace remus::daemon
