// The guest's memory on the backup: one shared-memory file per memory backend, wholly allocated, mapped by us
// and by the waiting QEMU.
//
// Allocated ahead, because a write to a mapped file that cannot get its page ends the process (SIGBUS): a
// host short of memory must say so at `protect`, not at the first failover.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/error.hpp"

namespace remus::hypervisor::qemu {

/// A mapping, of a file or of nothing (zeros).
class Mapping final {
 public:
  Mapping() noexcept = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  static Result<Mapping> of_file(const std::filesystem::path& file, std::uint64_t bytes);
  static Result<Mapping> anonymous(std::uint64_t bytes);
  [[nodiscard]] std::span<std::byte> span() const noexcept { return {data_, bytes_}; }

 private:
  std::byte* data_{};
  std::size_t bytes_{};
};

/// Whether `bytes` more fit into the file system of `directory` and, if that is in memory, into this host's
/// memory. Errors: exhausted, which names needed and available.
Status check_room(const std::filesystem::path& directory, std::uint64_t bytes);
/// Makes a file of zeros with all its blocks allocated; takes back what it made on failure. Errors:
/// exhausted, io.
Status create_image_file(const std::filesystem::path& file, std::uint64_t bytes);

}  // namespace remus::hypervisor::qemu
