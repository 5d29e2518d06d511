// Reads a disk that is in use out of an NBD export, which tells of holes by block status. Several reads are under way at once.
// libnbd speaks the protocol.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "disk/disk_reader.hpp"

namespace remus::disk {

class NbdReader final : public DiskReader {
 public:
  static constexpr std::size_t chunk_bytes = 256U << 10U;      ///< of one read
  static constexpr std::size_t reads_max = 8;                  ///< under way at once
  static constexpr std::uint64_t hole_bytes_max = 16U << 20U;  ///< of one ticket for a hole
  static constexpr std::chrono::seconds silence_max{30};       ///< of an export that owes an answer

  /// Errors: unreachable (nobody serves there, or no such export), with libnbd's words.
  static Result<std::unique_ptr<NbdReader>> connect(const std::filesystem::path& socket,
                                                    const std::string& name);
  ~NbdReader() override;

  [[nodiscard]] std::uint64_t bytes() const noexcept override { return bytes_; }
  /// False: the export knows nothing of holes, and all of it is read.
  [[nodiscard]] bool knows_holes() const noexcept { return knows_holes_; }

  /// Errors, besides: timeout (silence_max).
  Status copy(std::span<const CopyRange> ranges, CopySink& sink, const CopyControl& control) override;

 private:
  struct Library;
  class Run;
  struct Extent {
    std::uint64_t offset{};
    std::uint64_t bytes{};
    bool hole{};
  };

  NbdReader(std::unique_ptr<Library> library, std::uint64_t bytes, bool knows_holes);
  /// What lies at `offset`, up to `bytes` further on: at least one extent. Holes that read as zeros only.
  Result<std::vector<Extent>> status(std::uint64_t offset, std::uint64_t bytes);

  std::unique_ptr<Library> library_;
  std::uint64_t bytes_;
  bool knows_holes_;
};

}  // namespace remus::disk
