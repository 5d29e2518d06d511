// A stream parsed where it was received.
//
// Pages must not be copied twice, so bytes are received straight into the sink's memory and parsed there. The
// window is the stretch of the stream that has been received and not yet parsed; taking n bytes yields a
// pointer to n contiguous bytes that stay where they are.
//
//   sink's memory   | parsed: header, page, header, page | window: received | free |
//                                                        ▲ take(n)          ▲ recv
//
// Failure is sticky, as in iostreams: after one, take() yields nullptr, numbers are 0 and error() says what
// happened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/sink.hpp"
#include "hypervisor/qemu/byte_source.hpp"

namespace remus::hypervisor::qemu {

class StreamWindow final {
 public:
  static constexpr std::size_t chunk_bytes = 256UL << 10;  ///< asked of the sink at a time

  StreamWindow(ByteSource& source, checkpoint::CheckpointSink& sink) noexcept
      : source_{source}, sink_{sink} {}
  StreamWindow(const StreamWindow&) = delete;
  StreamWindow& operator=(const StreamWindow&) = delete;

  /// The next `bytes` bytes, contiguous, with `room` writable bytes after them; nullptr after a failure.
  [[nodiscard]] std::byte* take(std::size_t bytes, std::size_t room = 0) {
    if (error_) return nullptr;
    if (static_cast<std::size_t>(filled_ - parsed_) < bytes ||
        static_cast<std::size_t>(limit_ - parsed_) < bytes + room) {
      if (!fetch(bytes, room)) return nullptr;
    }
    std::byte* const data = parsed_;
    parsed_ += bytes;
    offset_ += bytes;
    return data;
  }
  [[nodiscard]] std::uint8_t u8();
  [[nodiscard]] std::uint16_t be16();
  [[nodiscard]] std::uint32_t be32();
  [[nodiscard]] std::uint64_t be64();
  /// A length byte and that many characters. Valid until the sink is recycled.
  [[nodiscard]] std::string_view name();

  /// Gives what was parsed to the sink for good; to be called when a part of the stream is complete.
  void commit();
  /// Counts `bytes` written by the caller into the room after the last take() as parsed.
  void append(std::size_t bytes) noexcept;

  /// Received and not parsed.
  [[nodiscard]] std::span<const std::byte> pending() const noexcept { return {parsed_, filled_}; }
  /// Receives more, so that pending() grows. False after a failure.
  bool receive_more();

  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }
  [[nodiscard]] bool failed() const noexcept { return error_.has_value(); }
  [[nodiscard]] Error error() const { return error_.value_or(Error{}); }
  /// Marks the stream malformed here; the first failure stays.
  void fail_at(std::string_view expected);
  void fail_with(Error error);

 private:
  bool fetch(std::size_t bytes, std::size_t room);

  ByteSource& source_;
  checkpoint::CheckpointSink& sink_;
  std::byte* committed_{};  ///< sink's current position
  std::byte* parsed_{};
  std::byte* filled_{};
  std::byte* limit_{};
  std::uint64_t offset_{};
  std::optional<Error> error_{};
};

}  // namespace remus::hypervisor::qemu
