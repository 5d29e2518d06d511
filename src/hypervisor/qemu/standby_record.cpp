#include "hypervisor/qemu/standby_record.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace remus::hypervisor::qemu {

using json = nlohmann::json;
namespace fs = std::filesystem;

Status save_record(const fs::path& file, const StandbyRecord& record) {
  const json value{
      {"pid", record.pid},          {"start_time", record.start_time},        {"activated", record.activated},
      {"qmp", record.qmp.native()}, {"image_dir", record.image_dir.native()}, {"taps", record.taps}};
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
    return StandbyRecord{value.at("pid").get<pid_t>(),
                         value.at("start_time").get<std::uint64_t>(),
                         value.at("activated").get<bool>(),
                         value.at("qmp").get<std::string>(),
                         value.at("image_dir").get<std::string>(),
                         value.at("taps").get<std::vector<std::string>>()};
  } catch (const json::exception& error) {
    return fail(Errc::corrupt, fmt::format("{} is damaged: {}", file.native(), error.what()),
                "see which QEMU and taps it names, end them by hand, and remove it");
  }
}

}  // namespace remus::hypervisor::qemu
