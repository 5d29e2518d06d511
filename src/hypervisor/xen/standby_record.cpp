#include "hypervisor/xen/standby_record.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace remus::hypervisor::xen {

namespace fs = std::filesystem;
using json = nlohmann::json;

Status save_record(const fs::path& file, const StandbyRecord& record) {
  const json value{{"pid", record.pid},
                   {"start_time", record.start_time},
                   {"activated", record.activated},
                   {"domid", record.domid},
                   {"uuid", record.uuid}};
  fs::path draft = file;
  draft += ".new";
  {
    std::ofstream out{draft, std::ios::trunc};
    out << value.dump(2) << '\n';
    out.flush();
    if (!out) return fail_errno(errno, fmt::format("cannot write {}", draft.native()));
  }
  std::error_code code;
  fs::rename(draft, file, code);
  if (code) return fail_errno(code.value(), fmt::format("cannot write {}", file.native()));
  return {};
}

Result<std::optional<StandbyRecord>> load_record(const fs::path& file) {
  std::ifstream in{file};
  if (!in) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    return fail_errno(errno, fmt::format("cannot read {}", file.native()));
  }
  std::stringstream text;
  text << in.rdbuf();
  try {
    const json value = json::parse(text.str());
    return StandbyRecord{.pid = value.at("pid").get<pid_t>(),
                         .start_time = value.at("start_time").get<std::uint64_t>(),
                         .activated = value.at("activated").get<bool>(),
                         .domid = value.at("domid").get<std::uint32_t>(),
                         .uuid = value.at("uuid").get<std::string>()};
  } catch (const json::exception& error) {
    return fail(Errc::corrupt, fmt::format("{} is damaged: {}", file.native(), error.what()),
                "see which process and domain it names, end them by hand, and remove it");
  }
}

}  // namespace remus::hypervisor::xen
