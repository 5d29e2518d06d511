#include "hypervisor/xen/session_mark.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/fd.hpp"

namespace remus::hypervisor::xen {

namespace {
constexpr std::uint32_t mark_magic = 0x524d5831;
constexpr const char* directory = "/run/remus-xen";
}  // namespace

SessionMark::~SessionMark() {
  if (fields_ != nullptr) ::munmap(const_cast<MarkFields*>(fields_), sizeof(MarkFields));
}

Status SessionMark::map(std::uint32_t domid, int flags) {
  remove();
  path_ = fmt::format("{}/{}{}", directory, domid, what_);
  const Fd file{::open(path_.c_str(), flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!file) {
    if (errno == ENOENT) return fail(Errc::not_found, fmt::format("there is no {}", path_.string()));
    return fail_errno(errno, fmt::format("cannot open {}", path_.string()));
  }
  if (::ftruncate(file.get(), sizeof(MarkFields)) != 0)
    return fail_errno(errno, fmt::format("cannot size {}", path_.string()));
  void* memory = ::mmap(nullptr, sizeof(MarkFields), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return fail_errno(errno, fmt::format("cannot map {}", path_.string()));
  fields_ = static_cast<volatile MarkFields*>(memory);
  return {};
}

Status SessionMark::create(std::uint32_t domid, const std::string& uuid) {
  std::error_code failed;
  std::filesystem::create_directories(directory, failed);
  if (failed) return fail(Errc::io, fmt::format("cannot make {}: {}", directory, failed.message()));
  if (auto mapped = map(domid, O_CREAT | O_TRUNC); !mapped) return mapped;
  for (std::size_t i = 0; i < uuid.size() && i + 1 < sizeof fields_->uuid; ++i) fields_->uuid[i] = uuid[i];
  fields_->domid = domid;
  fields_->magic = mark_magic;
  return {};
}

Status SessionMark::open(std::uint32_t domid, const std::string& uuid) {
  if (auto mapped = map(domid, 0); !mapped) return mapped;
  const MarkFields* fields = const_cast<const MarkFields*>(fields_);
  const std::string theirs{fields->uuid, ::strnlen(fields->uuid, sizeof fields->uuid)};
  if (fields->magic == mark_magic && fields->domid == domid && theirs == uuid) return {};
  remove();  // of an earlier domain with this number
  return fail(Errc::not_found, fmt::format("{} is not of this domain", path_.string()));
}

void SessionMark::remove() {
  if (fields_ == nullptr) return;
  ::munmap(const_cast<MarkFields*>(fields_), sizeof(MarkFields));
  fields_ = nullptr;
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace remus::hypervisor::xen
