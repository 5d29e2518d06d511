#include "guard/spec.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>
#include <utility>

#include "base/json.hpp"
#include "link/messages.hpp"

namespace remus::guard {
namespace {

constexpr std::size_t spec_bytes_max = 4U << 20;
// sizeof(sockaddr_un::sun_path) - 1: a longer path cannot be bound, and the guard would have no control
// socket.
constexpr std::size_t socket_path_bytes_max = 107;

Status validate_name(std::string_view what, std::string_view name) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const bool good =
      !name.empty() && name.size() <= 63 && letter(name.front()) &&
      std::ranges::all_of(name, [&](char c) { return letter(c) || c == '.' || c == '_' || c == '-'; });
  if (good) return {};
  return fail(Errc::invalid, fmt::format("'{}' is not a {} name", name.substr(0, 80), what),
              "use letters, digits, '.', '_' and '-', at most 63 of them, the first a letter or digit");
}

auto endpoints_into(std::vector<Endpoint>& out) {
  return [&out](const nlohmann::json& value, const Where& where) -> Status {
    if (!value.is_array()) return where.fail("expected a list of addresses such as [\"10.0.0.2:7600\"]");
    std::vector<Endpoint> read;
    for (const auto& item : value) {
      if (!item.is_string()) return where.fail(fmt::format("expected an address, found {}", item.dump()));
      auto endpoint = parse_endpoint(item.get_ref<const std::string&>());
      if (!endpoint) return where.fail(endpoint.error().what, endpoint.error().fix);
      read.push_back(std::move(*endpoint));
    }
    out = std::move(read);
    return {};
  };
}

auto path_into(std::filesystem::path& out) {
  return [&out](const nlohmann::json& value, const Where& where) -> Status {
    if (!value.is_string()) return where.fail("expected a path");
    out = value.get<std::string>();
    if (!out.empty() && !out.is_absolute())
      return where.fail(fmt::format("'{}' is not an absolute path", out.string()));
    return {};
  };
}

nlohmann::json texts(const std::vector<Endpoint>& endpoints) {
  auto list = nlohmann::json::array();
  for (const auto& endpoint : endpoints) list.push_back(to_string(endpoint));
  return list;
}

Status read_listen(const nlohmann::json& value, const Where& where, Listen& out) {
  StrictObject object{value, where};
  object.read("addresses", out.addresses).read("port_first", out.port_first).read("port_last", out.port_last);
  if (auto status = object.finish(); !status) return status;
  if (out.port_first > out.port_last) return where.at("port_last").fail("may not be lower than port_first");
  return {};
}

Status read_dirs(const nlohmann::json& value, const Where& where, Directories& out) {
  StrictObject object{value, where};
  object.read_with("pki", path_into(out.pki), Need::required)
      .read_with("run", path_into(out.run), Need::required)
      .read_with("state", path_into(out.state), Need::required)
      .read_with("image", path_into(out.image), Need::required);
  return object.finish();
}

Status check_hypervisor(const std::string& name, const Where& where) {
  if (name == "qemu" || name == "xen") return {};
  return where.at("hypervisor").fail(fmt::format("'{}' is not supported", name), "use qemu or xen");
}

Status check_sides(const GuardSpec& spec, const Where& where) {
  if (auto status = validate_guest_name(spec.guest); !status)
    return where.at("guest").fail(status.error().text());
  if (auto status = validate_host_name(spec.host); !status)
    return where.at("host").fail(status.error().text());
  if (auto status = validate_host_name(spec.peer); !status)
    return where.at("peer").fail(status.error().text());
  if (spec.host == spec.peer) return where.at("peer").fail("a guest cannot be protected to its own host");
  if (auto status = check_hypervisor(spec.hypervisor, where); !status) return status;
  constexpr std::array<std::string_view, 5> levels{"trace", "debug", "info", "warn", "error"};
  if (std::ranges::find(levels, spec.log_level) == levels.end())
    return where.at("log_level")
        .fail(fmt::format("'{}' is not a level", spec.log_level), "use trace, debug, info, warn or error");
  if (spec.side == Side::primary && spec.hypervisor == "qemu" && spec.qmp.empty())
    return where.fail("'qmp' is missing");
  if (spec.side == Side::backup && !spec.description) return where.fail("'description' is missing");
  const auto socket = control_socket(spec.dirs.run, spec.guest, spec.side);
  if (socket.native().size() > socket_path_bytes_max)
    return where.at("dirs.run")
        .fail(fmt::format("the control socket's path '{}' is too long for the kernel ({} bytes "
                          "at most)",
                          socket.string(), socket_path_bytes_max),
              "use a shorter run directory or guest name");
  return {};
}

}  // namespace

std::string_view to_string(Side side) noexcept {
  return side == Side::primary ? "primary" : "backup";
}

std::string to_string(const Endpoint& endpoint) {
  const bool v6 = endpoint.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", endpoint.host, endpoint.port)
            : fmt::format("{}:{}", endpoint.host, endpoint.port);
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  const auto bad = [&] {
    return fail(Errc::invalid, fmt::format("'{}' is not an address with a port", text.substr(0, 300)),
                "write it like 10.0.0.2:7600 or [fd00::2]:7600");
  };
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    const std::string number{host.substr(0, host.find('%'))};  // without the zone of a link-local address
    in6_addr binary{};
    if (::inet_pton(AF_INET6, number.c_str(), &binary) != 1) return bad();
  } else if (host.find(':') != std::string_view::npos) {
    return bad();
  }
  Endpoint out{std::string{host}, 0};
  const auto [end, code] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (host.empty() || host.size() > 253 || code != std::errc{} || end != port.data() + port.size() ||
      out.port == 0)
    return bad();
  if (host.find_first_of(" \t\n/") != std::string_view::npos) return bad();
  return out;
}

nlohmann::json to_json(const hypervisor::GuestDescription& d) {
  nlohmann::json out{{"hypervisor", d.hypervisor},
                     {"version", d.version},
                     {"memory_bytes", d.memory_bytes},
                     {"details", d.details}};
  for (const auto& disk : d.disks)
    out["disks"].push_back(
        {{"name", disk.name}, {"bytes", disk.bytes}, {"image", disk.image}, {"format", disk.format}});
  return out;
}

namespace {

Status read_guest_disks(const nlohmann::json& value, const Where& where,
                        std::vector<hypervisor::GuestDisk>& out) {
  if (!value.is_array() || value.size() > link::disks_max)
    return where.fail(fmt::format("expected a list of at most {} disks", link::disks_max));
  for (const auto& item : value) {
    hypervisor::GuestDisk disk;
    StrictObject object{item, where};
    object.read("name", disk.name, Need::required)
        .read("bytes", disk.bytes, Need::required)
        .read("image", disk.image)
        .read("format", disk.format);
    if (auto status = object.finish(); !status) return status;
    if (disk.name.empty() || disk.bytes == 0 || disk.bytes > link::disk_bytes_max)
      return where.fail(fmt::format("disk '{}' of {} bytes makes no sense", disk.name, disk.bytes));
    if (std::ranges::find(out, disk.name, &hypervisor::GuestDisk::name) != out.end())
      return where.fail(fmt::format("disk '{}' is there twice", disk.name));
    out.push_back(std::move(disk));
  }
  return {};
}

}  // namespace

Result<hypervisor::GuestDescription> description_from_json(const nlohmann::json& value, const Where& where) {
  hypervisor::GuestDescription d;
  StrictObject object{value, where};
  object.read("hypervisor", d.hypervisor, Need::required)
      .read("version", d.version, Need::required)
      .read("memory_bytes", d.memory_bytes, Need::required)
      .read_with("details",
                 [&](const nlohmann::json& details, const Where&) -> Status {
                   d.details = details;
                   return {};
                 })
      .read_with("disks", [&](const nlohmann::json& disks, const Where& at) {
        return read_guest_disks(disks, at, d.disks);
      });
  if (auto status = object.finish(); !status) return std::unexpected(status.error());
  if (auto status = check_hypervisor(d.hypervisor, where); !status) return std::unexpected(status.error());
  return d;
}

nlohmann::json to_json(const GuardSpec& s) {
  nlohmann::json out{{"side", to_string(s.side)},
                     {"guest", s.guest},
                     {"hypervisor", s.hypervisor},
                     {"host", s.host},
                     {"peer", s.peer},
                     {"peer_daemons", texts(s.peer_daemons)},
                     {"dirs",
                      {{"pki", s.dirs.pki.string()},
                       {"run", s.dirs.run.string()},
                       {"state", s.dirs.state.string()},
                       {"image", s.dirs.image.string()}}},
                     {"log_file", s.log_file.string()},
                     {"log_level", s.log_level},
                     {"options", to_json(s.options)},
                     {"generation", s.generation}};
  if (s.side == Side::primary) {
    out["qmp"] = s.qmp;
    out["peer_links"] = texts(s.peer_links);
    out["rescue_first"] = s.rescue_first;
    out["superseded_by"] = s.superseded_by;
  } else {
    if (s.description) out["description"] = to_json(*s.description);
    out["listen"] = {{"addresses", s.listen.addresses},
                     {"port_first", s.listen.port_first},
                     {"port_last", s.listen.port_last}};
  }
  return out;
}

Result<GuardSpec> spec_from_json(const nlohmann::json& value) {
  const Where root{"spec"};
  GuardSpec s;
  StrictObject object{value, root};
  object
      .read_with(
          "side",
          [&](const nlohmann::json& side, const Where& where) -> Status {
            if (side != "primary" && side != "backup")
              return where.fail("expected \"primary\" or \"backup\"");
            s.side = side == "primary" ? Side::primary : Side::backup;
            return {};
          },
          Need::required)
      .read("guest", s.guest, Need::required)
      .read("hypervisor", s.hypervisor)
      .read("host", s.host, Need::required)
      .read("peer", s.peer, Need::required)
      .read_with("peer_daemons", endpoints_into(s.peer_daemons))
      .read_with(
          "dirs",
          [&](const nlohmann::json& dirs, const Where& where) { return read_dirs(dirs, where, s.dirs); },
          Need::required)
      .read_with("log_file", path_into(s.log_file))
      .read("log_level", s.log_level)
      .read_with("options",
                 [&](const nlohmann::json& options, const Where& where) -> Status {
                   auto read = options_from_json(options, {}, where);
                   if (!read) return std::unexpected(read.error());
                   s.options = std::move(*read);
                   return {};
                 })
      .read("generation", s.generation);
  if (s.side == Side::primary) {
    object.read("qmp", s.qmp)
        .read_with("peer_links", endpoints_into(s.peer_links))
        .read("rescue_first", s.rescue_first)
        .read("superseded_by", s.superseded_by);
  } else {
    object
        .read_with("description",
                   [&](const nlohmann::json& description, const Where& where) -> Status {
                     auto read = description_from_json(description, where);
                     if (!read) return std::unexpected(read.error());
                     s.description = std::move(*read);
                     return {};
                   })
        .read_with("listen", [&](const nlohmann::json& listen, const Where& where) {
          return read_listen(listen, where, s.listen);
        });
  }
  if (auto status = object.finish(); !status) return std::unexpected(status.error());
  if (auto status = check_sides(s, root); !status) return std::unexpected(status.error());
  return s;
}

Result<GuardSpec> load_spec(const std::filesystem::path& file) {
  errno = 0;
  std::ifstream in{file, std::ios::binary};
  if (!in)
    return fail_errno(errno == 0 ? EIO : errno,
                      fmt::format("cannot read the guard's spec '{}'", file.string()));
  std::ostringstream content;
  content << in.rdbuf();
  const std::string text = std::move(content).str();
  if (text.size() > spec_bytes_max)
    return fail(Errc::invalid, fmt::format("'{}' is larger than any spec", file.string()));
  const auto value = parse_json(text);
  if (value.is_discarded()) return fail(Errc::invalid, fmt::format("'{}' is not JSON", file.string()));
  auto spec = spec_from_json(value);
  if (!spec) return std::unexpected(spec.error().in(file.string()));
  return spec;
}

Status validate_guest_name(std::string_view name) {
  return validate_name("guest", name);
}
Status validate_host_name(std::string_view name) {
  return validate_name("host", name);
}

std::filesystem::path control_socket(const std::filesystem::path& run, std::string_view guest, Side side) {
  return run / "guards" / fmt::format("{}.{}.sock", guest, to_string(side));
}
std::filesystem::path spec_file(const std::filesystem::path& run, std::string_view guest, Side side) {
  return run / "guards" / fmt::format("{}.{}.spec", guest, to_string(side));
}
std::filesystem::path state_file(const std::filesystem::path& state, std::string_view guest) {
  return state / fmt::format("{}.state", guest);
}

}  // namespace remus::guard
