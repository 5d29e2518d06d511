// Takes of what is read of a disk only what its replica has not: both sides hash, and equal blocks are left out.
//
//   expect(piece, what the replica holds) ─▶ begin ─▶ [read] ─▶ finish: blocks that differ ─▶ WriteLog
//                                                               blocks that are equal:      left out
//
// It does not matter when within the synchronization the replica was hashed. Take any byte of a block that is left out: if
// the guest has written it since the log began, the log brings it; if not, it is on both sides what it was when the log
// began, since nothing else changes the replica. So it may be hashed, a piece at a time, while writes come in.
#pragma once

#include <span>
#include <unordered_map>

#include "checkpoint/page_hash.hpp"
#include "disk/write_log.hpp"

namespace remus::disk {

/// One thread.
class ComparingSink final : public CopySink {
 public:
  /// What a replica holds of [offset, offset + bytes), in blocks: `offset` is a multiple of their length, the last one may
  /// be shorter.
  struct Known {
    std::uint64_t offset{};
    std::uint64_t bytes{};
    std::uint32_t block_bytes{};
    bool zero{};                          ///< all of it is zeros
    std::span<const std::byte> hashes{};  ///< else: 16 bytes a block
  };

  /// `seed`: of the hashes. The log outlives it.
  ComparingSink(WriteLog& log, std::uint64_t seed) : log_{log}, hasher_{seed} {}

  /// What is begun from now on lies within this. Its hashes stay where they are until the next call, or forget().
  void expect(const Known& known) { known_ = known; }
  /// Nothing is known of what is begun from now on: all of it is taken.
  void forget() { known_ = {}; }

  [[nodiscard]] Ticket begin(std::uint64_t offset, std::uint64_t bytes) override;
  [[nodiscard]] Status finish(Ticket ticket, std::span<const std::byte> data) override;
  [[nodiscard]] Status finish_zero(Ticket ticket) override;
  void abandon(Ticket ticket) override;

 private:
  struct Range {
    std::uint64_t offset{};
    std::uint64_t bytes{};
  };
  /// Leaves out what is equal; false if that is all of it. is_equal(at, bytes, index): the block at `at` of the range.
  template <typename IsEqual>
  [[nodiscard]] bool differs(Ticket ticket, const Range& range, IsEqual&& is_equal);
  [[nodiscard]] Range take(Ticket ticket);
  [[nodiscard]] checkpoint::Hash128 zero_hash(std::size_t bytes);

  WriteLog& log_;
  checkpoint::PageHasher hasher_;
  Known known_{};
  std::unordered_map<Ticket, Range> open_{};
  std::vector<std::byte> zeros_{};
  std::size_t zero_hashed_{};
  checkpoint::Hash128 zero_hash_{};
};

}  // namespace remus::disk
