#include "checkpoint/packer.hpp"

#include <fmt/format.h>
#include <lz4.h>
#include <zstd.h>

#include <array>
#include <chrono>
#include <cstring>

#include "base/assert.hpp"
#include "checkpoint/layout.hpp"

namespace remus::checkpoint {
namespace {
constexpr int lz4_estimate_acceleration = 4;
}  // namespace

struct Packer::Memory {
  Memory()
      : lz4_state(static_cast<std::size_t>(LZ4_sizeofState()) / sizeof(std::max_align_t) + 1),
        zstd{ZSTD_createCCtx(), &ZSTD_freeCCtx} {
    REMUS_ASSERT("pre", zstd != nullptr, "there is memory for a compressor");
    ZSTD_CCtx_setParameter(zstd.get(), ZSTD_c_compressionLevel, 1);
    ZSTD_CCtx_setParameter(zstd.get(), ZSTD_c_checksumFlag, 0);
  }

  std::vector<std::max_align_t> lz4_state;
  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> zstd;
  std::array<char, page_bytes> scratch;
};

Packer::Packer(Compression compression, std::uint64_t link_bytes_per_s)
    : compression_{compression}, chooser_{link_bytes_per_s}, memory_{std::make_unique<Memory>()} {}

Packer::~Packer() = default;

bool Packer::packs_below(std::span<const std::byte> data, std::size_t limit_bytes) {
  REMUS_ASSERT("pre", limit_bytes <= memory_->scratch.size(), "the estimate is for a page");
  const int packed = LZ4_compress_fast_extState(
      memory_->lz4_state.data(), reinterpret_cast<const char*>(data.data()), memory_->scratch.data(),
      static_cast<int>(data.size()), static_cast<int>(limit_bytes) - 1, lz4_estimate_acceleration);
  return packed > 0;
}

std::size_t Packer::try_pack(Packing packing, std::span<const std::byte> body, std::span<std::byte> out) {
  switch (packing) {
    case Packing::none: return 0;
    case Packing::lz4: {
      const int packed =
          LZ4_compress_fast_extState(memory_->lz4_state.data(), reinterpret_cast<const char*>(body.data()),
                                     reinterpret_cast<char*>(out.data()), static_cast<int>(body.size()),
                                     static_cast<int>(out.size()), 1);
      return packed > 0 ? static_cast<std::size_t>(packed) : 0;
    }
    case Packing::zstd: {
      const std::size_t packed =
          ZSTD_compress2(memory_->zstd.get(), out.data(), out.size(), body.data(), body.size());
      return ZSTD_isError(packed) != 0 ? 0 : packed;
    }
  }
  return 0;
}

Packing Packer::chosen() noexcept {
  switch (compression_) {
    case Compression::none: return Packing::none;
    case Compression::lz4: return Packing::lz4;
    case Compression::zstd: return Packing::zstd;
    case Compression::automatic: return chooser_.next();
  }
  return Packing::none;
}

Packer::Packed Packer::pack(std::span<const std::byte> body, std::span<std::byte> out) {
  const Packing packing = chosen();
  // What saves less than this is not worth unpacking.
  const std::size_t worthwhile_bytes = body.size() - body.size() / 32 - 1;
  const auto begin = std::chrono::steady_clock::now();
  const std::size_t packed = try_pack(packing, body, out.first(worthwhile_bytes));
  const auto took = std::chrono::steady_clock::now() - begin;
  chooser_.measured(
      packing, body.size(), packed != 0 ? packed : body.size(),
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count()));
  if (packed != 0) return {packing, packed};
  std::memcpy(out.data(), body.data(), body.size());
  return {Packing::none, body.size()};
}

struct Unpacker::Memory {
  Memory() : zstd{ZSTD_createDCtx(), &ZSTD_freeDCtx} {
    REMUS_ASSERT("pre", zstd != nullptr, "there is memory for a decompressor");
  }
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> zstd;
};

Unpacker::Unpacker() : memory_{std::make_unique<Memory>()}, scratch_(batch_body_bytes_max) {}
Unpacker::~Unpacker() = default;

Result<std::span<const std::byte>> Unpacker::unpack(std::uint8_t packing, std::span<const std::byte> packed,
                                                    std::size_t body_bytes) {
  if (body_bytes > batch_body_bytes_max)
    return fail(Errc::corrupt, fmt::format("body of {} bytes", body_bytes));
  std::span<const std::byte> body{};
  switch (packing) {
    case static_cast<std::uint8_t>(Packing::none): body = packed; break;
    case static_cast<std::uint8_t>(Packing::lz4): {
      const int bytes = LZ4_decompress_safe(reinterpret_cast<const char*>(packed.data()),
                                            reinterpret_cast<char*>(scratch_.data()),
                                            static_cast<int>(packed.size()), static_cast<int>(body_bytes));
      if (bytes < 0) return fail(Errc::corrupt, "lz4 body cannot be unpacked");
      body = std::span{scratch_}.first(static_cast<std::size_t>(bytes));
      break;
    }
    case static_cast<std::uint8_t>(Packing::zstd): {
      const std::size_t bytes =
          ZSTD_decompressDCtx(memory_->zstd.get(), scratch_.data(), body_bytes, packed.data(), packed.size());
      if (ZSTD_isError(bytes) != 0)
        return fail(Errc::corrupt, fmt::format("zstd body cannot be unpacked: {}", ZSTD_getErrorName(bytes)));
      body = std::span{scratch_}.first(bytes);
      break;
    }
    default: return fail(Errc::corrupt, fmt::format("unknown packing {}", packing));
  }
  if (body.size() != body_bytes)
    return fail(Errc::corrupt, fmt::format("body of {} bytes, announced {}", body.size(), body_bytes));
  return body;
}

}  // namespace remus::checkpoint
