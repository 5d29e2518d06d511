#include "hypervisor/qemu/image_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/statfs.h>

#include <cerrno>
#include <fstream>
#include <limits>
#include <utility>

#include "base/fd.hpp"

namespace remus::hypervisor::qemu {

namespace {

std::uint64_t available_memory_bytes() {
  std::ifstream file{"/proc/meminfo"};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(13)) << 10U;
  return ~std::uint64_t{0};
}

std::string mebibytes(std::uint64_t bytes) {
  return fmt::format("{} MiB", bytes >> 20U);
}

std::unexpected<Error> no_room(const std::filesystem::path& where, std::uint64_t needed,
                               std::uint64_t available) {
  return fail(Errc::exhausted,
              fmt::format("the guest's image needs {} in {}, of which {} are available", mebibytes(needed),
                          where.native(), mebibytes(available)),
              "free memory on the backup, or enlarge that file system (mount -o remount,size=... /dev/shm)");
}

Status addressable(std::uint64_t bytes) {
  if (bytes <= std::numeric_limits<std::size_t>::max()) return {};
  return fail(Errc::unsupported,
              fmt::format("{} are more than this 32-bit program can address", mebibytes(bytes)),
              "install the 64-bit Remus on this host");
}

}  // namespace

Mapping::Mapping(Mapping&& other) noexcept
    : data_{std::exchange(other.data_, nullptr)}, bytes_{std::exchange(other.bytes_, 0)} {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

Result<Mapping> Mapping::of_file(const std::filesystem::path& file, std::uint64_t bytes) {
  if (Status fits = addressable(bytes); !fits) return std::unexpected(fits.error());
  const auto length = static_cast<std::size_t>(bytes);
  const Fd fd{::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
  if (!fd) return fail_errno(errno, fmt::format("cannot open image file {}", file.native()));
  void* data = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return fail_errno(errno, fmt::format("cannot map image file {}", file.native()));
  Mapping out;
  out.data_ = static_cast<std::byte*>(data);
  out.bytes_ = length;
  return out;
}

Result<Mapping> Mapping::anonymous(std::uint64_t bytes) {
  if (Status fits = addressable(bytes); !fits) return std::unexpected(fits.error());
  const auto length = static_cast<std::size_t>(bytes);
  void* data = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return fail_errno(errno, fmt::format("cannot get {} bytes of memory", bytes));
  Mapping out;
  out.data_ = static_cast<std::byte*>(data);
  out.bytes_ = length;
  return out;
}

Status check_room(const std::filesystem::path& directory, std::uint64_t bytes) {
  struct statfs info {};
  if (::statfs(directory.c_str(), &info) != 0)
    return fail_errno(errno, fmt::format("cannot look at {}", directory.native()));
  const std::uint64_t free =
      static_cast<std::uint64_t>(info.f_bavail) * static_cast<std::uint64_t>(info.f_bsize);
  if (free < bytes) return no_room(directory, bytes, free);
  const auto kind = static_cast<std::uint32_t>(info.f_type);
  if (kind == TMPFS_MAGIC || kind == RAMFS_MAGIC) {
    const std::uint64_t memory = available_memory_bytes();
    if (memory < bytes) return no_room("this host's memory", bytes, memory);
  }
  return {};
}

Status create_image_file(const std::filesystem::path& file, std::uint64_t bytes) {
  const Fd fd{::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!fd) return fail_errno(errno, fmt::format("cannot create image file {}", file.native()));
  const int code = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes));
  if (code == 0) return {};
  ::unlink(file.c_str());
  if (code == ENOSPC || code == ENOMEM || code == EFBIG) {
    if (auto room = check_room(file.parent_path(), bytes); !room) return room;
    return no_room(file.parent_path(), bytes, 0);
  }
  return fail_errno(code, fmt::format("cannot allocate image file {}", file.native()));
}

}  // namespace remus::hypervisor::qemu
