#include "checkpoint/page_hash_table.hpp"

#include <algorithm>

namespace remus::checkpoint {

Result<PageHashTable> PageHashTable::create(PageIndex pages, std::uint64_t seed) {
  auto memory =
      Reservation::create(std::uint64_t{pages} * sizeof(Hash128), "the hashes of the guest's pages");
  if (!memory) return std::unexpected(std::move(memory.error()));
  return PageHashTable{pages, seed, std::move(*memory)};
}

Hash128* PageHashTable::hashes() const noexcept {
  return reinterpret_cast<Hash128*>(memory_.data());
}

const Hash128& PageHashTable::get(PageIndex index) const noexcept {
  return hashes()[index];
}

void PageHashTable::set(PageIndex index, const Hash128& hash) noexcept {
  Hash128& slot = hashes()[index];
  image_.replace(index, slot, hash);
  slot = hash;
}

void PageHashTable::forget() {
  memory_.release(0, memory_.size());  // reads as zeros: unknown
  image_ = {};
}

void PageHashTable::assume_zero() {
  std::fill_n(hashes(), pages_, hasher_.zero_page());
  image_ = {};
  for (PageIndex i = 0; i < pages_; ++i) image_.add(i, hasher_.zero_page());
}

void PageHashTable::reseed(std::uint64_t seed) {
  hasher_ = PageHasher{seed};
  forget();
}

}  // namespace remus::checkpoint
