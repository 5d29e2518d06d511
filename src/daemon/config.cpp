#include "daemon/config.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <memory>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/units.hpp"
#include "guard/strict_json.hpp"

namespace remus::daemon {
namespace {

using guard::Need;
using guard::StrictObject;
using guard::Where;
using nlohmann::json;

constexpr std::size_t config_bytes_max = 1U << 20;
constexpr int depth_max = 16;

/// Path of each value → "file:line:column", so that one strict reader serves files and requests alike.
using Places = std::map<std::string, std::string, std::less<>>;

struct Translator {
  const std::string& name;
  Places places{};

  json translate(const toml::node& node, const std::string& path, int depth) {
    const auto& begin = node.source().begin;
    places.emplace(path, fmt::format("{}:{}:{}", name, begin.line, begin.column));
    if (depth > depth_max) return nullptr;
    if (const auto* table = node.as_table()) {
      json out = json::object();
      for (const auto& [key, value] : *table) {
        const std::string name_of_key{key.str()};
        const std::string below = path.empty() ? name_of_key : fmt::format("{}.{}", path, name_of_key);
        out[name_of_key] = translate(value, below, depth + 1);
        // A misspelt key is to be found at the key, not at its value.
        places[below] = fmt::format("{}:{}:{}", name, key.source().begin.line, key.source().begin.column);
      }
      return out;
    }
    if (const auto* array = node.as_array()) {
      json out = json::array();
      for (const auto& item : *array) out.push_back(translate(item, path, depth + 1));
      return out;
    }
    if (const auto* text = node.as_string()) return text->get();
    if (const auto* integer = node.as_integer())
      return integer->get() >= 0 ? json(static_cast<std::uint64_t>(integer->get())) : json(integer->get());
    if (const auto* number = node.as_floating_point()) return number->get();
    if (const auto* boolean = node.as_boolean()) return boolean->get();
    return nullptr;  // dates and times: no key of ours takes one, so the reader says what it expected
  }
};

auto absolute_path(std::filesystem::path& out) {
  return [&out](const json& value, const Where& where) -> Status {
    if (!value.is_string() || value.get_ref<const std::string&>().find('\0') != std::string::npos)
      return where.fail("expected a path");
    const std::filesystem::path path{value.get<std::string>()};
    if (!path.is_absolute()) return where.fail(fmt::format("'{}' is not an absolute path", path.string()));
    out = path.lexically_normal();
    return {};
  };
}

Status one_of(std::string_view value, std::initializer_list<std::string_view> known, const Where& where) {
  if (std::ranges::find(known, value) != known.end()) return {};
  return where.fail(fmt::format("'{}' is not known here", value),
                    fmt::format("use one of {}", fmt::join(known, ", ")));
}

Status read_network(const json& value, const Where& where, Config& config) {
  StrictObject object{value, where};
  object.read("listen", config.listen)
      .read("peer_port", config.peer_port)
      .read_with("guard_ports", [&](const json& range, const Where& at) -> Status {
        if (!range.is_array() || range.size() != 2 || !std::ranges::all_of(range, [](const json& port) {
              return port.is_number_unsigned() && port.get<std::uint64_t>() >= 1 &&
                     port.get<std::uint64_t>() <= 65535;
            }))
          return at.fail("expected two ports such as [7601, 7699]");
        config.guard_port_first = range[0].get<std::uint16_t>();
        config.guard_port_last = range[1].get<std::uint16_t>();
        if (config.guard_port_first > config.guard_port_last)
          return at.fail("the first port may not exceed the last");
        return {};
      });
  if (auto status = object.finish(); !status) return status;
  if (config.peer_port == 0) return where.at("peer_port").fail("0 is not a port peers could know");
  if (config.peer_port >= config.guard_port_first && config.peer_port <= config.guard_port_last)
    return where.at("guard_ports").fail(fmt::format("the range holds peer_port ({})", config.peer_port));
  if (config.listen.empty())
    return where.at("listen").fail("at least one address is needed", "\"0.0.0.0\" for all");
  return {};
}

Status read_peer(const json& value, const Where& where, Peer& peer, std::uint16_t default_port) {
  if (auto status = guard::validate_host_name(peer.name); !status)
    return where.fail(status.error().what, status.error().fix);
  std::vector<std::string> addresses;
  StrictObject object{value, where};
  object.read("addresses", addresses, Need::required);
  if (auto status = object.finish(); !status) return status;
  if (addresses.empty() || addresses.size() > 8)
    return where.at("addresses").fail(fmt::format("{} addresses", addresses.size()), "give 1 to 8");
  for (const auto& text : addresses) {
    auto endpoint = parse_peer_address(text, default_port);
    if (!endpoint) return where.at("addresses").fail(endpoint.error().what, endpoint.error().fix);
    peer.addresses.push_back(std::move(*endpoint));
  }
  return {};
}

Status read_peers(const json& value, const Where& where, Config& config) {
  if (!value.is_object()) return where.fail("expected tables such as [peers.hostB]");
  for (const auto& [name, table] : value.items()) {
    Peer peer{name, {}};
    if (auto status = read_peer(table, where.at(name), peer, config.peer_port); !status) return status;
    config.peers.emplace(name, std::move(peer));
  }
  return {};
}

Status read_root(const json& root, const Where& where, Config& config) {
  const json* peers = nullptr;
  StrictObject object{root, where};
  object
      .read_with("host",
                 [&](const json& value, const Where& at) -> Status {
                   StrictObject host{value, at};
                   host.read("name", config.host);
                   if (auto status = host.finish(); !status) return status;
                   if (!value.contains("name")) return {};
                   if (auto status = guard::validate_host_name(config.host); !status)
                     return at.at("name").fail(status.error().what, status.error().fix);
                   return {};
                 })
      .read_with("paths",
                 [&](const json& value, const Where& at) {
                   StrictObject paths{value, at};
                   paths.read_with("pki", absolute_path(config.dirs.pki))
                       .read_with("run", absolute_path(config.dirs.run))
                       .read_with("state", absolute_path(config.dirs.state))
                       .read_with("image", absolute_path(config.dirs.image))
                       .read_with("guard", absolute_path(config.guard_binary));
                   return paths.finish();
                 })
      .read_with(
          "log",
          [&](const json& value, const Where& at) -> Status {
            StrictObject log{value, at};
            log.read("level", config.log_level).read_with("dir", absolute_path(config.log_dir));
            if (auto status = log.finish(); !status) return status;
            return one_of(config.log_level, {"trace", "debug", "info", "warn", "error"}, at.at("level"));
          })
      .read_with("api",
                 [&](const json& value, const Where& at) {
                   StrictObject api{value, at};
                   api.read("group", config.api_group);
                   return api.finish();
                 })
      .read_with("network",
                 [&](const json& value, const Where& at) { return read_network(value, at, config); })
      .read_with("peers",
                 [&](const json& value, const Where&) -> Status {
                   peers = &value;  // read last: their default port is network.peer_port
                   return {};
                 })
      .read_with("defaults", [&](const json& value, const Where& at) -> Status {
        auto options = guard::options_from_json(value, {}, at);
        if (!options) return std::unexpected(options.error());
        config.defaults = std::move(*options);
        return {};
      });
  if (auto status = object.finish(); !status) return status;
  if (peers != nullptr) return read_peers(*peers, where.at("peers"), config);
  return {};
}

/// Where this installation put the guard: beside us, whatever the prefix.
std::filesystem::path installed_guard() {
  std::error_code code;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", code);
  if (!code) {
    auto beside = (self.parent_path().parent_path() / "libexec/remus/remus-guard").lexically_normal();
    if (std::filesystem::exists(beside, code)) return beside;
  }
  return "/usr/libexec/remus/remus-guard";
}

std::string kernel_host_name() {
  std::array<char, 256> buffer{};
  if (::gethostname(buffer.data(), buffer.size() - 1) != 0) return "localhost";
  const std::string name{buffer.data()};
  return name.substr(0, name.find('.'));
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& name) {
  if (text.size() > config_bytes_max)
    return fail(Errc::invalid,
                fmt::format("{}: larger than any configuration ({} bytes)", name, text.size()));
  Translator translator{name};
  json root;
  try {
    const toml::table table = toml::parse(text, name);
    root = translator.translate(table, "", 0);
  } catch (const toml::parse_error& error) {
    const auto& at = error.source().begin;
    return fail(Errc::invalid, fmt::format("{}:{}:{}: {}", name, at.line, at.column, error.description()));
  }
  Config config;
  // "defaults.bridges.br0" may have no entry of its own when the value was generated: take the nearest above.
  const auto locate = [places = std::move(translator.places)](std::string_view path) -> std::string {
    for (;;) {
      if (const auto found = places.find(path); found != places.end()) return found->second;
      const auto dot = path.rfind('.');
      if (dot == std::string_view::npos) break;
      path = path.substr(0, dot);
    }
    const auto top = places.find(std::string_view{});
    return top == places.end() ? std::string{} : top->second;
  };
  if (auto status = read_root(root, Where{"", locate}, config); !status)
    return std::unexpected(status.error());
  if (config.host.empty()) config.host = kernel_host_name();
  if (config.guard_binary.empty()) config.guard_binary = installed_guard();
  if (config.peers.contains(config.host))
    return fail(Errc::invalid,
                fmt::format("{}: peers.{}: a host is not its own peer",
                            locate(fmt::format("peers.{}", config.host)), config.host),
                "name the other hosts there; this host's name is host.name");
  return config;
}

Result<Config> load_config(const std::filesystem::path& file) {
  // It could be opened, and would read as an empty file, which is a good one.
  if (std::error_code code; std::filesystem::is_directory(file, code))
    return fail(Errc::invalid, fmt::format("the configuration '{}' is a directory", file.string()),
                "name the file with --config");
  errno = 0;
  std::ifstream in{file, std::ios::binary};
  if (!in) {
    const int code = errno == 0 ? EIO : errno;
    const auto what = fmt::format("cannot read the configuration '{}'", file.string());
    if (code == ENOENT)
      return fail(Errc::not_found, what + ": No such file or directory",
                  "create it, or name another with --config");
    return fail_errno(code, what);
  }
  std::ostringstream content;
  content << in.rdbuf();
  const std::string text = std::move(content).str();
  auto config = parse_config(text, file.string());
  if (config) config->file = file;
  return config;
}

Result<guard::Endpoint> parse_peer_address(std::string_view text, std::uint16_t default_port) {
  const auto colons = std::ranges::count(text, ':');
  const bool bare_v6 = colons >= 2 && !text.starts_with('[');
  if (bare_v6) return guard::parse_endpoint(fmt::format("[{}]:{}", text, default_port));
  if (colons == 0 || text.ends_with(']'))
    return guard::parse_endpoint(fmt::format("{}:{}", text, default_port));
  return guard::parse_endpoint(text);
}

}  // namespace remus::daemon
