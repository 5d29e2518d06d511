#include "checkpoint/device_codec.hpp"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/assert.hpp"
#include "checkpoint/wire.hpp"

namespace remus::checkpoint {
namespace {

constexpr std::uint8_t device_version = 1;
constexpr std::size_t large_state_bytes = 512UL << 10;
enum class Form : std::uint8_t { stored = 0, zstd = 1, zstd_after_previous = 2 };

std::unexpected<Error> corrupt_state(std::string what) {
  return fail(Errc::corrupt, "device state: " + std::move(what));
}

}  // namespace

struct DeviceEncoder::Context {
  Context() : zstd{ZSTD_createCCtx(), &ZSTD_freeCCtx} {
    REMUS_ASSERT("pre", zstd != nullptr, "there is memory for a compressor");
    ZSTD_CCtx_setParameter(zstd.get(), ZSTD_c_compressionLevel, 1);
  }
  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> zstd;
};

DeviceEncoder::DeviceEncoder() : context_{std::make_unique<Context>()} {}
DeviceEncoder::~DeviceEncoder() = default;

Status DeviceEncoder::encode(std::span<const std::byte> state, std::vector<std::byte>& out) {
  if (state.size() > device_state_bytes_max) {
    return fail(
        Errc::exhausted,
        fmt::format("device state of {} bytes is larger than {}", state.size(), device_state_bytes_max),
        "remove devices with memory of their own from the guest");
  }
  ZSTD_CCtx* const zstd = context_->zstd.get();
  ZSTD_CCtx_reset(zstd, ZSTD_reset_session_only);  // the last one may have ended in "would not be smaller"
  const bool after_previous = !previous_.empty();
  // The window must reach from the end of the state back to the start of the previous one.
  const int window = std::clamp(static_cast<int>(std::bit_width(previous_.size() + state.size())), 17, 27);
  ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, window);
  // Finding one's way in a large predecessor takes a table that costs small states more than it gains them.
  const bool large = state.size() > large_state_bytes;
  ZSTD_CCtx_setParameter(zstd, ZSTD_c_enableLongDistanceMatching, large ? 1 : 0);
  if (after_previous) ZSTD_CCtx_refPrefix(zstd, previous_.data(), previous_.size());

  out.resize(device_header_bytes + state.size());
  std::size_t bytes =
      ZSTD_compress2(zstd, out.data() + device_header_bytes, state.size(), state.data(), state.size());
  Form form = after_previous ? Form::zstd_after_previous : Form::zstd;
  if (ZSTD_isError(bytes) != 0) {  // would not be smaller
    form = Form::stored;
    bytes = state.size();
    std::copy(state.begin(), state.end(), out.begin() + device_header_bytes);
  }
  out.resize(device_header_bytes + bytes);
  wire::store(out.data(), device_version);
  wire::store(out.data() + 1, static_cast<std::uint8_t>(form));
  wire::store(out.data() + 2, std::uint16_t{0});
  wire::store(out.data() + 4, static_cast<std::uint32_t>(state.size()));
  previous_.assign(state.begin(), state.end());
  return {};
}

struct DeviceDecoder::Context {
  Context() : zstd{ZSTD_createDCtx(), &ZSTD_freeDCtx} {
    REMUS_ASSERT("pre", zstd != nullptr, "there is memory for a decompressor");
  }
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> zstd;
};

DeviceDecoder::DeviceDecoder() : context_{std::make_unique<Context>()} {}
DeviceDecoder::~DeviceDecoder() = default;

Result<std::span<const std::byte>> DeviceDecoder::decode(std::span<const std::byte> packed) {
  if (packed.size() < device_header_bytes || packed.size() > device_packed_bytes_max) {
    return corrupt_state(fmt::format("{} bytes long", packed.size()));
  }
  if (const auto version = wire::load<std::uint8_t>(packed.data()); version != device_version) {
    return corrupt_state(fmt::format("version {}, this side knows {}", version, device_version));
  }
  const auto form = wire::load<std::uint8_t>(packed.data() + 1);
  const auto bytes = wire::load<std::uint32_t>(packed.data() + 4);
  if (wire::load<std::uint16_t>(packed.data() + 2) != 0) return corrupt_state("reserved bytes are set");
  if (bytes > device_state_bytes_max) return corrupt_state(fmt::format("{} bytes announced", bytes));
  const auto content = packed.subspan(device_header_bytes);

  if (form == static_cast<std::uint8_t>(Form::stored)) {
    if (content.size() != bytes) return corrupt_state("length and content disagree");
    next_.assign(content.begin(), content.end());
  } else if (form == static_cast<std::uint8_t>(Form::zstd) ||
             form == static_cast<std::uint8_t>(Form::zstd_after_previous)) {
    const bool after_previous = form == static_cast<std::uint8_t>(Form::zstd_after_previous);
    if (after_previous && state_.empty())
      return corrupt_state("packed against a state this side does not have");
    ZSTD_DCtx* const zstd = context_->zstd.get();
    ZSTD_DCtx_reset(zstd, ZSTD_reset_session_only);
    ZSTD_DCtx_refPrefix(zstd, after_previous ? state_.data() : nullptr, after_previous ? state_.size() : 0);
    next_.resize(bytes);
    const std::size_t got = ZSTD_decompressDCtx(zstd, next_.data(), bytes, content.data(), content.size());
    if (ZSTD_isError(got) != 0)
      return corrupt_state(fmt::format("cannot be unpacked: {}", ZSTD_getErrorName(got)));
    if (got != bytes) return corrupt_state(fmt::format("{} bytes, announced {}", got, bytes));
  } else {
    return corrupt_state(fmt::format("unknown form {}", form));
  }
  state_.swap(next_);
  return std::span<const std::byte>{state_};
}

}  // namespace remus::checkpoint
