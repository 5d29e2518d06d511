#include "disk/replica_record.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/json.hpp"

namespace remus::disk {
namespace {

constexpr const char* record_name = "replica.json";
constexpr std::array<std::string_view, 4> phase_names{"synchronizing", "journaled", "settled", "active"};

std::unexpected<Error> not_a_record(std::string_view why) {
  return fail(Errc::corrupt, fmt::format("'{}' does not tell what the replicas are: {}", record_name, why),
              "synchronize the guest anew");
}

Result<ReplicaRecord> parse(const nlohmann::json& json) {
  if (!json.is_object() || json.size() != 5 || json.value("version", nlohmann::json{}) != 1)
    return not_a_record("version or fields are not as expected");
  const auto number = [&](const char* key, std::uint64_t& to) {
    const auto at = json.find(key);
    if (at == json.end() || !at->is_number_unsigned()) return false;
    to = at->get<std::uint64_t>();
    return true;
  };
  ReplicaRecord record{};
  const auto phase = json.find("phase");
  const auto disks = json.find("disk_bytes");
  if (!number("session", record.session) || !number("epoch", record.epoch) || phase == json.end() ||
      !phase->is_string() || disks == json.end() || !disks->is_array() || disks->size() > disks_max)
    return not_a_record("fields are not as expected");
  for (const auto& bytes : *disks) {
    if (!bytes.is_number_unsigned()) return not_a_record("a disk's size is not a number");
    record.disk_bytes.push_back(bytes.get<std::uint64_t>());
  }
  for (std::size_t i = 0; i < phase_names.size(); ++i) {
    if (phase->get_ref<const std::string&>() != phase_names[i]) continue;
    record.phase = static_cast<ReplicaPhase>(i);
    return record;
  }
  return not_a_record("the phase is not known");
}

}  // namespace

Status write_record(StorageFolder& folder, const ReplicaRecord& record) {
  const nlohmann::json json{{"version", 1},
                            {"phase", phase_names[std::to_underlying(record.phase)]},
                            {"session", record.session},
                            {"epoch", record.epoch},
                            {"disk_bytes", record.disk_bytes}};
  return folder.write_whole(record_name, json.dump());
}

Result<ReplicaRecord> read_record(StorageFolder& folder) {
  auto text = folder.read_whole(record_name);
  if (!text) return std::unexpected(std::move(text.error()));
  return parse(parse_json(*text));
}

}  // namespace remus::disk
