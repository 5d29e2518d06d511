#include "hypervisor/qemu/guest_facts.hpp"

#include <fmt/format.h>

namespace remus::hypervisor::qemu {

using json = nlohmann::json;

json to_json(const GuestFacts& facts) {
  json memory = json::array();
  for (const auto& backend : facts.memory)
    memory.push_back({{"id", backend.id},
                      {"ramblock", backend.ramblock},
                      {"bytes", backend.bytes},
                      {"address", backend.address}});
  json netdevs = json::array();
  for (const auto& net : facts.netdevs)
    netdevs.push_back({{"id", net.id}, {"type", net.type}, {"ifname", net.ifname}, {"bridge", net.bridge}});
  json disks = json::array();
  for (const auto& disk : facts.disks)
    disks.push_back({{"device", disk.device},
                     {"id", disk.id},
                     {"node", disk.node},
                     {"driver", disk.driver},
                     {"file", disk.file},
                     {"read_only", disk.read_only},
                     {"bytes", disk.bytes}});
  return {{"version", {facts.version.major, facts.version.minor, facts.version.micro}},
          {"package", facts.version.package},
          {"machine", facts.machine},
          {"kvm", facts.kvm},
          {"memory_bytes", facts.memory_bytes},
          {"memory", std::move(memory)},
          {"netdevs", std::move(netdevs)},
          {"disks", std::move(disks)},
          {"binary", facts.binary},
          {"directory", facts.directory},
          {"argv", facts.argv}};
}

Result<GuestFacts> facts_from_json(const json& value) {
  GuestFacts facts;
  try {
    const json& version = value.at("version");
    facts.version = {version.at(0).get<int>(), version.at(1).get<int>(), version.at(2).get<int>(),
                     value.at("package").get<std::string>()};
    facts.machine = value.at("machine").get<std::string>();
    facts.kvm = value.at("kvm").get<bool>();
    facts.memory_bytes = value.at("memory_bytes").get<std::uint64_t>();
    for (const json& backend : value.at("memory"))
      facts.memory.push_back({backend.at("id").get<std::string>(), backend.at("ramblock").get<std::string>(),
                              backend.at("bytes").get<std::uint64_t>(),
                              backend.at("address").get<std::uint64_t>()});
    for (const json& net : value.at("netdevs"))
      facts.netdevs.push_back({net.at("id").get<std::string>(), net.at("type").get<std::string>(),
                               net.at("ifname").get<std::string>(), net.at("bridge").get<std::string>()});
    for (const json& disk : value.at("disks"))
      facts.disks.push_back({.device = disk.at("device").get<std::string>(),
                             .file = disk.at("file").get<std::string>(),
                             .read_only = disk.at("read_only").get<bool>(),
                             .id = disk.at("id").get<std::string>(),
                             .node = disk.at("node").get<std::string>(),
                             .driver = disk.at("driver").get<std::string>(),
                             .bytes = disk.at("bytes").get<std::uint64_t>()});
    facts.binary = value.at("binary").get<std::string>();
    facts.directory = value.at("directory").get<std::string>();
    facts.argv = value.at("argv").get<std::vector<std::string>>();
  } catch (const json::exception& error) {
    return fail(Errc::corrupt,
                fmt::format("the primary's description of the guest is malformed: {}", error.what()),
                "both hosts must run the same version of remus");
  }
  if (facts.argv.empty())
    return fail(Errc::corrupt, "the primary's description of the guest has no command line");
  return facts;
}

}  // namespace remus::hypervisor::qemu
