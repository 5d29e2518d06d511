#include "hypervisor/xen/standby_record.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/files.hpp"

namespace remus::hypervisor::xen {

namespace fs = std::filesystem;
using json = nlohmann::json;

Status save_record(const fs::path& file, const StandbyRecord& record) {
  const json value{{"pid", record.pid},
                   {"start_time", record.start_time},
                   {"activated", record.activated},
                   {"domid", record.domid},
                   {"uuid", record.uuid}};
  // A power cut ends the standby as well: only our own death must leave the record behind.
  return write_atomically(file, value.dump(2) + "\n", 0600, Survives::our_death);
}

Result<std::optional<StandbyRecord>> load_record(const fs::path& file) {
  const auto value = read_json(file);
  if (!value && value.error().kind == Errc::not_found) return std::nullopt;
  constexpr auto advice = "see which process and domain it names, end them by hand, and remove it";
  if (!value && value.error().kind == Errc::corrupt) return fail(Errc::corrupt, value.error().text(), advice);
  if (!value) return std::unexpected(value.error());
  try {
    return StandbyRecord{.pid = value->at("pid").get<pid_t>(),
                         .start_time = value->at("start_time").get<std::uint64_t>(),
                         .activated = value->at("activated").get<bool>(),
                         .domid = value->at("domid").get<std::uint32_t>(),
                         .uuid = value->at("uuid").get<std::string>()};
  } catch (const json::exception& error) {
    return fail(Errc::corrupt, fmt::format("{} is damaged: {}", file.native(), error.what()), advice);
  }
}

}  // namespace remus::hypervisor::xen
