// Reads a disk that is in use out of its raw image, a file or a device of this host: past the guest's hypervisor, which need not serve
// it. Holes are those of the file.
//
// Reads go past the page cache where the file system can do so. Then they see what others wrote, whether they write past the page cache
// or through it: the kernel writes that back first.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "base/fd.hpp"
#include "disk/disk_reader.hpp"

namespace remus::disk {

class ImageReader final : public DiskReader {
 public:
  static constexpr std::size_t chunk_bytes = 1U << 20U;        ///< of one read
  static constexpr std::uint64_t hole_bytes_max = 16U << 20U;  ///< of one ticket for a hole

  /// `bytes`: of the disk; what the file lacks of that reads as zeros. Errors: denied, io.
  static Result<std::unique_ptr<DiskReader>> open(const std::filesystem::path& image, std::uint64_t bytes);

  [[nodiscard]] std::uint64_t bytes() const noexcept override { return bytes_; }
  Status copy(std::span<const CopyRange> ranges, CopySink& sink, const CopyControl& control) override;

 private:
  class Run;
  ImageReader(Fd file, std::uint64_t bytes) : file_{std::move(file)}, bytes_{bytes} {}
  /// Where the first data at or after `offset` begins; bytes_ if there is none.
  [[nodiscard]] std::uint64_t next_data(std::uint64_t offset) const;
  [[nodiscard]] std::uint64_t next_hole(std::uint64_t offset) const;

  Fd file_;
  std::uint64_t bytes_;
};

}  // namespace remus::disk
