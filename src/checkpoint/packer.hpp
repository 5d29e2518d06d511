// A batch's body, packed in the way that pays and unpacked again: what batches of pages and batches of disk writes
// have in common.
//
// Unpacking trusts nothing: any bytes give the announced body or Errc::corrupt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "checkpoint/packing_chooser.hpp"
#include "checkpoint/page_batch.hpp"

namespace remus::checkpoint {

enum class Compression : std::uint8_t { none, lz4, zstd, automatic };

class Packer final {
 public:
  Packer(Compression compression, std::uint64_t link_bytes_per_s);
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;
  ~Packer();

  struct Packed {
    Packing packing{};
    std::size_t bytes{};
  };
  /// `out` has room for all of `body`, which is not empty. A body that packing does not make smaller is copied.
  [[nodiscard]] Packed pack(std::span<const std::byte> body, std::span<std::byte> out);
  /// Would lz4, working quickly, bring `data` below `limit_bytes`?
  [[nodiscard]] bool packs_below(std::span<const std::byte> data, std::size_t limit_bytes);

  void link_rate(std::uint64_t bytes_per_s) noexcept { chooser_.link_rate(bytes_per_s); }
  [[nodiscard]] Compression compression() const noexcept { return compression_; }

 private:
  struct Memory;  ///< lz4's and zstd's
  [[nodiscard]] Packing chosen() noexcept;
  /// Packed body in `out`, or 0 if it does not fit.
  [[nodiscard]] std::size_t try_pack(Packing packing, std::span<const std::byte> body,
                                     std::span<std::byte> out);

  Compression compression_;
  PackingChooser chooser_;
  std::unique_ptr<Memory> memory_;
};

class Unpacker final {
 public:
  Unpacker();
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;
  ~Unpacker();

  /// The body, valid until the next call or as long as `packed`. `packing` as it stands in the header;
  /// `body_bytes` ≤ batch_body_bytes_max. Errors: corrupt; the sentence is to be put into context.
  [[nodiscard]] Result<std::span<const std::byte>> unpack(std::uint8_t packing,
                                                          std::span<const std::byte> packed,
                                                          std::size_t body_bytes);

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
  std::vector<std::byte> scratch_;
};

}  // namespace remus::checkpoint
