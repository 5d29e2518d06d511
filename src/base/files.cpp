#include "base/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/fd.hpp"
#include "base/json.hpp"

namespace remus {
namespace {

constexpr std::size_t json_bytes_max = 16U << 20;

std::unexpected<Error> file_error(int code, std::string_view doing, const std::filesystem::path& path) {
  if (code == ENOSPC || code == EDQUOT)
    return fail(Errc::exhausted, fmt::format("cannot {} '{}': no space left", doing, path.string()),
                "free some disk space; nothing was changed");
  return fail_errno(code, fmt::format("cannot {} '{}'", doing, path.string()));
}

Status sync_directory(const std::filesystem::path& directory) {
  const Fd fd{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!fd || ::fsync(fd.get()) != 0) return file_error(errno, "make durable", directory);
  return {};
}

Status write_whole(int fd, std::string_view text, const std::filesystem::path& path, Survives survives) {
  while (!text.empty()) {
    const auto put = ::write(fd, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return file_error(put < 0 ? errno : EIO, "write", path);
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  if (survives == Survives::power_cut && ::fsync(fd) != 0) return file_error(errno, "write", path);
  return {};
}

}  // namespace

Status write_atomically(const std::filesystem::path& path, std::string_view text, mode_t mode,
                        Survives survives) {
  auto aside = path;
  aside += ".new";
  {
    const Fd fd{::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode)};
    if (!fd) return file_error(errno, "create", aside);
    if (auto status = write_whole(fd.get(), text, aside, survives); !status) {
      ::unlink(aside.c_str());
      return status;
    }
  }
  if (::rename(aside.c_str(), path.c_str()) != 0) {
    const int code = errno;
    ::unlink(aside.c_str());
    return file_error(code, "replace", path);
  }
  return survives == Survives::power_cut ? sync_directory(path.parent_path()) : Status{};
}

Result<nlohmann::json> read_json(const std::filesystem::path& path) {
  errno = 0;
  std::ifstream in{path, std::ios::binary};
  if (!in) {
    const int code = errno == 0 ? EIO : errno;
    if (code == ENOENT || code == ENOTDIR)
      return fail(Errc::not_found, fmt::format("'{}' does not exist", path.string()));
    return file_error(code, "read", path);
  }
  std::ostringstream content;
  content << in.rdbuf();
  const std::string text = std::move(content).str();
  auto value =
      text.size() <= json_bytes_max ? parse_json(text) : nlohmann::json(nlohmann::json::value_t::discarded);
  if (value.is_discarded()) return fail(Errc::corrupt, fmt::format("'{}' is not JSON", path.string()));
  return value;
}

Status remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return file_error(errno, "remove", path);
  }
  return sync_directory(path.parent_path());
}

Status make_directory(const std::filesystem::path& path, mode_t mode) {
  std::error_code code;
  if (std::filesystem::is_directory(path, code)) return {};
  if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path(), code);
    if (code) return file_error(code.value(), "create", path.parent_path());
  }
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return file_error(errno, "create", path);
  return {};
}

}  // namespace remus
