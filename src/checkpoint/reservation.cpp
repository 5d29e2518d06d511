#include "checkpoint/reservation.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

namespace remus::checkpoint {
namespace {

std::size_t granule_bytes() noexcept {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

Result<Reservation> Reservation::create(std::uint64_t bytes, std::string_view what) {
  const std::size_t granule = granule_bytes();
  const bool fits = bytes <= std::numeric_limits<std::size_t>::max() - granule;
  const std::size_t size =
      fits ? std::max(granule, (static_cast<std::size_t>(bytes) + granule - 1) / granule * granule) : 0;
  void* at =
      fits ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
           : MAP_FAILED;
  if (at == MAP_FAILED) {
    return fail(
        Errc::exhausted, fmt::format("cannot reserve {} bytes of address space for {}", bytes, what),
        "raise the process's limit on address space (ulimit -v), or set vm.overcommit_memory to 0 or 1");
  }
  return Reservation{static_cast<std::byte*>(at), size};
}

Reservation::Reservation(Reservation&& other) noexcept
    : data_{std::exchange(other.data_, nullptr)}, size_{std::exchange(other.size_, 0)} {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Reservation::~Reservation() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void Reservation::release(std::size_t from, std::size_t to) noexcept {
  const std::size_t granule = granule_bytes();
  from = (std::min(from, size_) + granule - 1) / granule * granule;
  to = std::min(to, size_) / granule * granule;
  if (from >= to) return;
  // Cannot fail on private anonymous memory of ours; were it locked, zeroing keeps the promise.
  if (::madvise(data_ + from, to - from, MADV_DONTNEED) != 0) std::memset(data_ + from, 0, to - from);
}

void Reservation::prefault(std::size_t bytes) noexcept {
  bytes = std::min(bytes, size_);
#ifdef MADV_POPULATE_WRITE
  if (::madvise(data_, bytes, MADV_POPULATE_WRITE) == 0) return;
#endif
  // Kernels before 5.14: write to each page what it holds.
  for (std::size_t at = 0; at < bytes; at += granule_bytes()) {
    volatile std::byte* touched = data_ + at;
    *touched = *touched;
  }
}

}  // namespace remus::checkpoint
