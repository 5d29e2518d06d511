#include "guard/state_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>

namespace remus::guard {
namespace {

constexpr std::size_t slot_bytes = 512;
constexpr std::size_t file_bytes = 2 * slot_bytes;
constexpr std::array<char, 8> magic{'R', 'E', 'M', 'U', 'S', 'S', 'T', '1'};

// One slot: magic 8, sequence u64, generation u64, superseded_by u64, role u8, alone u8, zeros, XXH3-64 of
// all before. Native byte order: the file never leaves its host.
constexpr std::size_t at_sequence = 8;
constexpr std::size_t at_generation = 16;
constexpr std::size_t at_superseded = 24;
constexpr std::size_t at_role = 32;
constexpr std::size_t at_alone = 33;
constexpr std::size_t at_checksum = slot_bytes - 8;

using Slot = std::array<std::byte, slot_bytes>;

struct Numbered {
  std::uint64_t sequence{};
  StateRecord record{};
};

template <typename T>
void put(Slot& slot, std::size_t at, T value) {
  std::memcpy(slot.data() + at, &value, sizeof value);
}
template <typename T>
T get(const Slot& slot, std::size_t at) {
  T value{};
  std::memcpy(&value, slot.data() + at, sizeof value);
  return value;
}

Slot encode(const Numbered& numbered) {
  Slot slot{};
  std::memcpy(slot.data(), magic.data(), magic.size());
  put(slot, at_sequence, numbered.sequence);
  put(slot, at_generation, numbered.record.generation);
  put(slot, at_superseded, numbered.record.superseded_by);
  put(slot, at_role, static_cast<std::uint8_t>(numbered.record.role));
  put(slot, at_alone, static_cast<std::uint8_t>(numbered.record.alone ? 1 : 0));
  put(slot, at_checksum, static_cast<std::uint64_t>(XXH3_64bits(slot.data(), at_checksum)));
  return slot;
}

std::optional<Numbered> decode(const Slot& slot) {
  if (std::memcmp(slot.data(), magic.data(), magic.size()) != 0) return std::nullopt;
  if (get<std::uint64_t>(slot, at_checksum) != XXH3_64bits(slot.data(), at_checksum)) return std::nullopt;
  const auto role = get<std::uint8_t>(slot, at_role);
  if (role > static_cast<std::uint8_t>(HostRole::backup)) return std::nullopt;
  Numbered out;
  out.sequence = get<std::uint64_t>(slot, at_sequence);
  out.record.generation = get<std::uint64_t>(slot, at_generation);
  out.record.superseded_by = get<std::uint64_t>(slot, at_superseded);
  out.record.role = static_cast<HostRole>(role);
  out.record.alone = get<std::uint8_t>(slot, at_alone) != 0;
  return out;
}

enum class Content { empty, whole, damaged };

/// The newer whole slot. A file of zeros is empty: its creator died before the first record.
Result<std::pair<Content, Numbered>> read_newest(int fd, const std::filesystem::path& path) {
  std::optional<Numbered> newest;
  bool blank = true;
  for (std::size_t i = 0; i < 2; ++i) {
    Slot slot{};
    const auto got = ::pread(fd, slot.data(), slot.size(), static_cast<off_t>(i * slot_bytes));
    if (got < 0) return fail_errno(errno, fmt::format("cannot read '{}'", path.string()));
    blank = blank && slot == Slot{};
    if (got != static_cast<ssize_t>(slot_bytes)) continue;
    const auto numbered = decode(slot);
    if (numbered && (!newest || numbered->sequence > newest->sequence)) newest = numbered;
  }
  if (newest) return std::pair{Content::whole, *newest};
  return std::pair{blank ? Content::empty : Content::damaged, Numbered{}};
}

std::unexpected<Error> damaged(const std::filesystem::path& path) {
  return fail(Errc::corrupt, fmt::format("neither record in '{}' is whole", path.string()),
              "find out which host runs the guest, then remove the file and protect the guest again");
}

Status sync_directory(const std::filesystem::path& directory) {
  const Fd fd{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!fd || ::fsync(fd.get()) != 0)
    return fail_errno(errno, fmt::format("cannot make '{}' durable", directory.string()));
  return {};
}

}  // namespace

Result<StateFile> StateFile::open(const std::filesystem::path& path) {
  Fd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  if (!fd) return fail_errno(errno, fmt::format("cannot open '{}'", path.string()));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0)
    return fail_errno(errno, fmt::format("cannot examine '{}'", path.string()));
  if (info.st_size < static_cast<off_t>(file_bytes)) {
    // Zeros are written rather than posix_fallocate'd: a record must later fit in place on every file system.
    const std::array<std::byte, file_bytes> zeros{};
    const auto put = ::pwrite(fd.get(), zeros.data() + info.st_size,
                              file_bytes - static_cast<std::size_t>(info.st_size), info.st_size);
    const bool written = put == static_cast<ssize_t>(file_bytes) - info.st_size && ::fsync(fd.get()) == 0;
    if (!written) {
      const int code = put >= 0 && errno == 0 ? ENOSPC : errno;
      if (info.st_size == 0) ::unlink(path.c_str());
      if (code == ENOSPC || code == EDQUOT)
        return fail(Errc::exhausted, fmt::format("no space on disk for '{}'", path.string()),
                    "free some disk space and try again");
      return fail_errno(code, fmt::format("cannot write '{}'", path.string()));
    }
    if (auto status = sync_directory(path.parent_path()); !status) return std::unexpected(status.error());
  }
  auto read = read_newest(fd.get(), path);
  if (!read) return std::unexpected(read.error());
  if (read->first == Content::damaged) return damaged(path);
  StateFile file{path, std::move(fd)};
  file.record_ = read->second.record;
  file.sequence_ = read->second.sequence;
  return file;
}

Result<StateRecord> StateFile::peek(const std::filesystem::path& path) {
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd && errno == ENOENT) return fail(Errc::not_found, fmt::format("no record '{}'", path.string()));
  if (!fd) return fail_errno(errno, fmt::format("cannot open '{}'", path.string()));
  auto read = read_newest(fd.get(), path);
  if (!read) return std::unexpected(read.error());
  if (read->first == Content::damaged) return damaged(path);
  return read->second.record;
}

Status StateFile::write(const StateRecord& record) {
  if (record.generation < record_.generation)
    return fail(Errc::internal, fmt::format("generation would fall from {} to {} in '{}'", record_.generation,
                                            record.generation, path_.string()));
  const Slot slot = encode({sequence_ + 1, record});
  const auto offset = static_cast<off_t>(((sequence_ + 1) % 2) * slot_bytes);
  if (::pwrite(fd_.get(), slot.data(), slot.size(), offset) != static_cast<ssize_t>(slot.size()) ||
      ::fdatasync(fd_.get()) != 0)
    return fail_errno(errno,
                      fmt::format("cannot record generation {} in '{}'", record.generation, path_.string()));
  ++sequence_;
  record_ = record;
  return {};
}

}  // namespace remus::guard
