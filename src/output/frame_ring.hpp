// Frames of one netdev, held in the order they came, as the very bytes they arrived in: be32 length, packet.
//
//   head_ ............ released_ ............ marks (epoch → end) ............ tail_
//   being written out    may go as soon as          held
//                        the socket takes it
//
// A ring of bytes of fixed size, memory touched only as far as it was ever filled. At the limit whole frames
// are dropped, newest first. Pure: no I/O, no clock, no lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>

#include "base/error.hpp"
#include "checkpoint/layout.hpp"

namespace remus::output {

using checkpoint::Epoch;

struct FrameCount {
  std::uint64_t packets{};
  std::uint64_t bytes{};  ///< without the length words
};

class FrameRing final {
 public:
  static constexpr std::size_t header_bytes = 4;
  /// QEMU's own limit for a packet with its virtio header is 68 KiB; more means the framing is lost.
  static constexpr std::size_t packet_bytes_max = 128UL << 10;

  /// `capacity_bytes` is rounded up to a power of two. Errors: exhausted.
  [[nodiscard]] static Result<FrameRing> create(std::size_t capacity_bytes);
  FrameRing(FrameRing&& other) noexcept;
  FrameRing& operator=(FrameRing&& other) noexcept;
  FrameRing(const FrameRing&) = delete;
  FrameRing& operator=(const FrameRing&) = delete;
  ~FrameRing();

  /// Takes bytes as they come, whole frames or parts. `budget_bytes` more may be held by all rings together:
  /// a frame that does not fit is dropped whole. Errors: corrupt, if the framing is lost; then nothing more
  /// can be taken.
  Status take(std::span<const std::byte> bytes, std::size_t budget_bytes);

  /// All whole frames so far belong to epochs ≤ `epoch`.
  void mark(Epoch epoch);
  /// Frames up to the last mark ≤ `upto` may go.
  void release(Epoch upto);
  /// All whole frames so far may go.
  void release_all();
  /// Throws away what has not been released.
  FrameCount discard();

  /// Released bytes that lie together; empty if there are none.
  [[nodiscard]] std::span<const std::byte> sendable() const noexcept;
  void sent(std::size_t bytes) noexcept;

  /// In the ring in whole frames, released or not.
  [[nodiscard]] std::size_t used_bytes() const noexcept { return static_cast<std::size_t>(whole_ - head_); }
  [[nodiscard]] bool has_unreleased() const noexcept { return whole_ != released_; }
  /// Whole frames behind the last mark: of the epoch under way.
  [[nodiscard]] bool has_unmarked() const noexcept { return whole_ != marked_; }
  [[nodiscard]] FrameCount taken() const noexcept { return taken_; }
  [[nodiscard]] FrameCount released() const noexcept { return freed_; }
  [[nodiscard]] FrameCount held() const noexcept {
    return {taken_.packets - gone_.packets - freed_.packets, taken_.bytes - gone_.bytes - freed_.bytes};
  }
  [[nodiscard]] FrameCount dropped() const noexcept { return dropped_; }

 private:
  struct Mark {
    Epoch epoch;
    std::uint64_t end;
    FrameCount taken;
  };

  FrameRing(std::byte* memory, std::size_t capacity) noexcept : memory_{memory}, capacity_{capacity} {}
  void put(std::span<const std::byte> bytes) noexcept;
  void release_to(std::uint64_t end, FrameCount taken) noexcept;
  void finish_frame() noexcept;
  [[nodiscard]] std::size_t at(std::uint64_t position) const noexcept {
    return static_cast<std::size_t>(position) & (capacity_ - 1);
  }

  std::byte* memory_{};
  std::size_t capacity_{};
  // Positions only grow; the ring's index is the position modulo capacity.
  std::uint64_t head_{};  ///< first byte not yet sent
  std::uint64_t released_{};
  std::uint64_t marked_{};
  std::uint64_t whole_{};  ///< end of the last whole frame
  std::uint64_t tail_{};   ///< end of what is stored of the frame under way
  std::deque<Mark> marks_{};

  // The frame under way.
  std::byte header_[header_bytes]{};
  std::size_t header_got_{};
  std::size_t packet_left_{};
  std::size_t packet_bytes_{};
  bool dropping_{false};

  FrameCount taken_{};  ///< into the ring
  FrameCount gone_{};   ///< thrown away after they had been taken
  FrameCount freed_{};
  FrameCount dropped_{};
};

}  // namespace remus::output
