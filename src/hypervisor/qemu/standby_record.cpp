#include "hypervisor/qemu/standby_record.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/files.hpp"

namespace remus::hypervisor::qemu {

using json = nlohmann::json;
namespace fs = std::filesystem;

Status save_record(const fs::path& file, const StandbyRecord& record) {
  const json value{
      {"pid", record.pid},          {"start_time", record.start_time},        {"activated", record.activated},
      {"qmp", record.qmp.native()}, {"image_dir", record.image_dir.native()}, {"taps", record.taps}};
  // A power cut ends the standby as well: only our own death must leave the record behind.
  return write_atomically(file, value.dump(2) + "\n", 0600, Survives::our_death);
}

Result<std::optional<StandbyRecord>> load_record(const fs::path& file) {
  const auto value = read_json(file);
  if (!value && value.error().kind == Errc::not_found) return std::nullopt;
  constexpr auto advice = "see which QEMU and taps it names, end them by hand, and remove it";
  if (!value && value.error().kind == Errc::corrupt) return fail(Errc::corrupt, value.error().text(), advice);
  if (!value) return std::unexpected(value.error());
  try {
    return StandbyRecord{value->at("pid").get<pid_t>(),
                         value->at("start_time").get<std::uint64_t>(),
                         value->at("activated").get<bool>(),
                         value->at("qmp").get<std::string>(),
                         value->at("image_dir").get<std::string>(),
                         value->at("taps").get<std::vector<std::string>>()};
  } catch (const json::exception& error) {
    return fail(Errc::corrupt, fmt::format("{} is damaged: {}", file.native(), error.what()), advice);
  }
}

}  // namespace remus::hypervisor::qemu
