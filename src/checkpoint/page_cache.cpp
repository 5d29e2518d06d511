#include "checkpoint/page_cache.hpp"

#include <cstring>
#include <limits>

namespace remus::checkpoint {

Result<PageCache> PageCache::create(std::size_t capacity_pages) {
  const std::size_t sets = (capacity_pages + ways - 1) / ways;
  auto tags = Reservation::create(std::uint64_t{sets} * ways * sizeof(Tag), "the tags of the page cache");
  if (!tags) return std::unexpected(std::move(tags.error()));
  auto pages = Reservation::create(std::uint64_t{sets} * ways * page_bytes, "the page cache");
  if (!pages) return std::unexpected(std::move(pages.error()));
  return PageCache{sets, std::move(*tags), std::move(*pages)};
}

PageCache::Tag* PageCache::set_of(PageIndex index) const noexcept {
  return reinterpret_cast<Tag*>(tags_.data()) + index % sets_ * ways;
}

std::byte* PageCache::content(const Tag* tag) const noexcept {
  return pages_.data() +
         static_cast<std::size_t>(tag - reinterpret_cast<const Tag*>(tags_.data())) * page_bytes;
}

std::uint32_t PageCache::tick() noexcept {
  if (clock_ == std::numeric_limits<std::uint32_t>::max()) {
    // Once in four billion uses: all that is cached becomes equally old.
    auto* const tags = reinterpret_cast<Tag*>(tags_.data());
    for (std::size_t i = 0; i < sets_ * ways; ++i) tags[i].used = tags[i].used != 0 ? 1 : 0;
    clock_ = 1;
  }
  return ++clock_;
}

PageCache::Tag* PageCache::find(PageIndex index) const noexcept {
  if (sets_ == 0) return nullptr;
  Tag* const set = set_of(index);
  for (std::size_t way = 0; way < ways; ++way) {
    if (set[way].index == index && set[way].used != 0) return set + way;
  }
  return nullptr;
}

const std::byte* PageCache::lookup(PageIndex index) noexcept {
  Tag* const tag = find(index);
  if (tag == nullptr) return nullptr;
  tag->used = tick();
  return content(tag);
}

void PageCache::store(PageIndex index, const std::byte* data) noexcept {
  if (sets_ == 0) return;
  Tag* tag = find(index);
  if (tag == nullptr) {
    // The least recently used way; an empty one counts as never used.
    Tag* const set = set_of(index);
    tag = set;
    for (std::size_t way = 1; way < ways; ++way) {
      if (set[way].used < tag->used) tag = set + way;
    }
    tag->index = index;
  }
  tag->used = tick();
  std::memcpy(content(tag), data, page_bytes);
}

void PageCache::drop(PageIndex index) noexcept {
  if (Tag* const tag = find(index); tag != nullptr) tag->used = 0;
}

void PageCache::clear() noexcept {
  tags_.release(0, tags_.size());
  pages_.release(0, pages_.size());
  clock_ = 0;
}

}  // namespace remus::checkpoint
