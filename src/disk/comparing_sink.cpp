#include "disk/comparing_sink.hpp"

#include <algorithm>

namespace remus::disk {

CopySink::Ticket ComparingSink::begin(std::uint64_t offset, std::uint64_t bytes) {
  const Ticket ticket = log_.begin(offset, bytes);
  open_[ticket] = {offset, bytes};
  return ticket;
}

ComparingSink::Range ComparingSink::take(Ticket ticket) {
  const auto found = open_.extract(ticket);
  return found ? found.mapped() : Range{};
}

template <typename IsEqual>
bool ComparingSink::differs(Ticket ticket, const Range& range, IsEqual&& is_equal) {
  const std::uint64_t end = range.offset + range.bytes;
  const std::uint64_t known_end = known_.offset + known_.bytes;
  if (known_.block_bytes == 0 || range.offset < known_.offset || end > known_end) return true;
  bool any = false;
  std::uint64_t equal_from = range.offset;
  for (std::uint64_t at = range.offset; at < end;) {
    const std::uint64_t block = at / known_.block_bytes;
    const std::uint64_t next = std::min((block + 1) * known_.block_bytes, known_end);
    const std::uint64_t stop = std::min(next, end);
    // Of a block that was not read as a whole nothing can be said.
    const bool whole = at % known_.block_bytes == 0 && stop == next;
    if (!whole || !is_equal(at - range.offset, stop - at, block - known_.offset / known_.block_bytes)) {
      if (at > equal_from) log_.leave_out(ticket, equal_from, at - equal_from);
      equal_from = stop;
      any = true;
    }
    at = stop;
  }
  if (any && end > equal_from) log_.leave_out(ticket, equal_from, end - equal_from);
  return any;
}

Status ComparingSink::finish(Ticket ticket, std::span<const std::byte> data) {
  const Range range = take(ticket);
  const bool any = differs(ticket, range, [&](std::uint64_t at, std::uint64_t bytes, std::uint64_t index) {
    const auto block = data.subspan(at, bytes);
    if (known_.zero)
      return block.front() == std::byte{0} && std::ranges::equal(block.first(bytes - 1), block.subspan(1));
    return hasher_.of(block) == checkpoint::hash_at(known_.hashes, index);
  });
  if (any) return log_.finish(ticket, data);
  log_.abandon(ticket);
  return log_.state();
}

Status ComparingSink::finish_zero(Ticket ticket) {
  const Range range = take(ticket);
  const bool any = differs(ticket, range, [&](std::uint64_t, std::uint64_t bytes, std::uint64_t index) {
    return known_.zero || zero_hash(bytes) == checkpoint::hash_at(known_.hashes, index);
  });
  if (any) return log_.finish_zero(ticket);
  log_.abandon(ticket);
  return log_.state();
}

void ComparingSink::abandon(Ticket ticket) {
  open_.erase(ticket);
  log_.abandon(ticket);
}

checkpoint::Hash128 ComparingSink::zero_hash(std::size_t bytes) {
  if (zero_hashed_ != bytes) {
    zeros_.resize(bytes);
    zero_hash_ = hasher_.of(zeros_);
    zero_hashed_ = bytes;
  }
  return zero_hash_;
}

}  // namespace remus::disk
