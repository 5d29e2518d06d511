#include "disk/posix_storage.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <limits>
#include <system_error>

#include "base/fd.hpp"
#include "base/files.hpp"

namespace remus::disk {
namespace {

constexpr std::size_t whole_bytes_max = 64UL * 1024;

std::unexpected<Error> storage_error(int code, std::string_view doing, const std::filesystem::path& path) {
  switch (code) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return fail(Errc::exhausted, fmt::format("cannot {} '{}': no space left", doing, path.string()),
                  "free some space there; what was acknowledged is kept");
    case ENOENT: return fail(Errc::not_found, fmt::format("'{}' does not exist", path.string()));
    case EEXIST: return fail(Errc::exists, fmt::format("'{}' exists already", path.string()));
    case EACCES:
    case EPERM:
    case EROFS:
      return fail(
          Errc::denied,
          fmt::format("cannot {} '{}': {}", doing, path.string(), std::generic_category().message(code)),
          "make it writable for root");
    default: return fail_errno(code, fmt::format("cannot {} '{}'", doing, path.string()));
  }
}

class PosixFile final : public StorageFile {
 public:
  PosixFile(Fd fd, std::filesystem::path path, bool device)
      : fd_{std::move(fd)}, path_{std::move(path)}, device_{device} {}

  Status read(std::uint64_t offset, std::span<std::byte> to) override {
    while (!to.empty()) {
      const auto got = ::pread(fd_.get(), to.data(), to.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return storage_error(errno, "read", path_);
      if (got == 0)
        return fail(Errc::io, fmt::format("cannot read '{}': it ends at {}", path_.string(), offset));
      offset += static_cast<std::uint64_t>(got);
      to = to.subspan(static_cast<std::size_t>(got));
    }
    return {};
  }

  Status write(std::uint64_t offset, std::span<const std::byte> from) override {
    while (!from.empty()) {
      const auto put = ::pwrite(fd_.get(), from.data(), from.size(), static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) return storage_error(put < 0 ? errno : EIO, "write", path_);
      offset += static_cast<std::uint64_t>(put);
      from = from.subspan(static_cast<std::size_t>(put));
    }
    return {};
  }

  std::uint64_t next_data(std::uint64_t offset) override {
    if (device_) return offset;
    // Our reads and writes name their place, so the position moved here is nobody's.
    const off_t at = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
    if (at >= 0) return static_cast<std::uint64_t>(at);
    return errno == ENXIO ? std::numeric_limits<std::uint64_t>::max() : offset;
  }

  Status zero(std::uint64_t offset, std::uint64_t bytes, bool unmap) override {
    const int mode =
        unmap ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
    int done = -1;
    do {
      done = ::fallocate(fd_.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(bytes));
    } while (done != 0 && errno == EINTR);
    if (done == 0) return {};
    // Not every file system and device can, and devices only whole sectors.
    if (errno == EOPNOTSUPP || errno == EINVAL || errno == ENODEV) return write_zeros(offset, bytes);
    return storage_error(errno, "zero a range of", path_);
  }

  Status synchronize() override {
    if (::fdatasync(fd_.get()) != 0) return storage_error(errno, "make durable", path_);
    return {};
  }

  Status resize(std::uint64_t bytes) override {
    if (device_)
      return fail(Errc::unsupported, fmt::format("'{}' is a device: its size is fixed", path_.string()));
    if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0) return storage_error(errno, "resize", path_);
    return {};
  }

  Result<std::uint64_t> size() override {
    if (device_) {
      std::uint64_t bytes = 0;
      if (::ioctl(fd_.get(), BLKGETSIZE64, &bytes) != 0)
        return storage_error(errno, "ask the size of", path_);
      return bytes;
    }
    struct stat facts {};
    if (::fstat(fd_.get(), &facts) != 0) return storage_error(errno, "ask the size of", path_);
    return static_cast<std::uint64_t>(facts.st_size);
  }

 private:
  Status write_zeros(std::uint64_t offset, std::uint64_t bytes) {
    static constexpr std::array<std::byte, 65536> zeros{};
    while (bytes != 0) {
      const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, zeros.size()));
      if (auto status = write(offset, std::span{zeros}.first(part)); !status) return status;
      offset += part;
      bytes -= part;
    }
    return {};
  }

  Fd fd_;
  std::filesystem::path path_;
  bool device_;
};

class PosixFolder final : public StorageFolder {
 public:
  PosixFolder(Fd fd, std::filesystem::path path) : fd_{std::move(fd)}, path_{std::move(path)} {}

  Result<std::unique_ptr<StorageFile>> create(const std::string& name) override {
    return open_with(name, O_RDWR | O_CREAT | O_EXCL, "create");
  }
  Result<std::unique_ptr<StorageFile>> open(const std::string& name) override {
    return open_with(name, O_RDWR, "open");
  }
  Status remove(const std::string& name) override {
    if (::unlinkat(fd_.get(), name.c_str(), 0) != 0 && errno != ENOENT)
      return storage_error(errno, "remove", path_ / name);
    return {};
  }
  Result<std::vector<std::string>> list() override {
    std::vector<std::string> names;
    std::error_code code;
    for (std::filesystem::directory_iterator at{path_, code}, end; !code && at != end; at.increment(code))
      names.push_back(at->path().filename().string());
    if (code) return storage_error(code.value(), "list", path_);
    return names;
  }
  Status synchronize() override {
    if (::fsync(fd_.get()) != 0) return storage_error(errno, "make durable", path_);
    return {};
  }
  Status write_whole(const std::string& name, std::string_view text) override {
    return write_atomically(path_ / name, text);
  }
  Result<std::string> read_whole(const std::string& name) override {
    auto file = open_with(name, O_RDONLY, "open");
    if (!file) return std::unexpected(std::move(file.error()));
    const auto bytes = (*file)->size();
    if (!bytes) return std::unexpected(bytes.error());
    if (*bytes > whole_bytes_max)
      return fail(Errc::corrupt, fmt::format("'{}' has {} bytes", (path_ / name).string(), *bytes));
    std::string text(static_cast<std::size_t>(*bytes), '\0');
    if (auto status = (*file)->read(0, std::as_writable_bytes(std::span{text})); !status)
      return std::unexpected(std::move(status.error()));
    return text;
  }

 private:
  Result<std::unique_ptr<StorageFile>> open_with(const std::string& name, int flags, std::string_view doing) {
    Fd fd{::openat(fd_.get(), name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (!fd) return storage_error(errno, doing, path_ / name);
    return std::make_unique<PosixFile>(std::move(fd), path_ / name, false);
  }

  Fd fd_;
  std::filesystem::path path_;
};

/// QEMU, which does not know of our lock, locks bytes of an image that it has in use.
bool is_locked_by_another(int fd) {
  struct flock asked {};
  asked.l_type = F_WRLCK;
  asked.l_whence = SEEK_SET;  // all of it
  return ::fcntl(fd, F_OFD_GETLK, &asked) == 0 && asked.l_type != F_UNLCK;
}

}  // namespace

Result<std::unique_ptr<StorageFile>> open_replica(const std::filesystem::path& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return storage_error(errno, "open", path);
  const bool device = S_ISBLK(facts.st_mode);
  if (!device && !S_ISREG(facts.st_mode))
    return fail(Errc::refused, fmt::format("'{}' is neither a file nor a block device", path.string()),
                "name a raw image or a volume");
  Fd fd{::open(path.c_str(), O_RDWR | O_CLOEXEC | (device ? O_EXCL : 0))};
  const auto in_use = [&] {
    return fail(Errc::refused, fmt::format("'{}' is in use", path.string()),
                "stop what uses it, or name another disk on the backup");
  };
  if (!fd) {
    if (errno == EBUSY || errno == ETXTBSY) return in_use();
    return storage_error(errno, "open", path);
  }
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return in_use();
    return storage_error(errno, "lock", path);
  }
  if (is_locked_by_another(fd.get())) return in_use();
  return std::make_unique<PosixFile>(std::move(fd), path, device);
}

Result<std::unique_ptr<StorageFile>> open_nameless(const std::filesystem::path& directory) {
  Fd fd{::open(directory.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600)};
  if (!fd) return storage_error(errno, "create a file in", directory);
  return std::make_unique<PosixFile>(std::move(fd), directory / "(nameless)", false);
}

Result<std::unique_ptr<StorageFolder>> open_folder(const std::filesystem::path& path) {
  Fd fd{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!fd) return storage_error(errno, "open", path);
  return std::make_unique<PosixFolder>(std::move(fd), path);
}

}  // namespace remus::disk
