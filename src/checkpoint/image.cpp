#include "checkpoint/image.hpp"

#include <fmt/format.h>

#include <cstring>

#include "base/assert.hpp"
#include "checkpoint/delta.hpp"
#include "checkpoint/layout_check.hpp"

namespace remus::checkpoint {

Result<Image> Image::create(Layout layout, std::vector<std::span<std::byte>> blocks, std::uint64_t seed) {
  if (const auto ok = check(layout); !ok) return std::unexpected(ok.error());
  if (blocks.size() != layout.blocks.size()) {
    return fail(Errc::invalid, fmt::format("image: {} blocks of memory for a layout of {}", blocks.size(),
                                           layout.blocks.size()));
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].size() != layout.blocks[i].bytes) {
      return fail(Errc::invalid,
                  fmt::format("image: block '{}' has {} bytes of memory, not {}", layout.blocks[i].name,
                              blocks[i].size(), layout.blocks[i].bytes));
    }
  }
  auto table = PageHashTable::create(layout.pages(), seed);
  if (!table) return std::unexpected(std::move(table.error()));
  return Image{std::move(layout), std::move(blocks), std::move(*table)};
}

std::byte* Image::at(PageIndex index) const {
  // A handful of blocks, nearly all pages in the first: searching in order is quickest.
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const PageIndex within = index - layout_.blocks[i].first_page;
    if (within < layout_.blocks[i].pages()) return blocks_[i].data() + std::size_t{within} * page_bytes;
  }
  assertion_failed("pre", "a page of the image lies within its layout", __FILE__, __LINE__);
}

std::span<const std::byte> Image::page(PageIndex index) const {
  return {at(index), page_bytes};
}

void Image::write(PageIndex index, const std::byte* data) {
  std::memcpy(at(index), data, page_bytes);
  table_.set(index, table_.hasher()(data));
}

void Image::write_zero(PageIndex index) {
  const Hash128& zero = table_.hasher().zero_page();
  if (table_.get(index) == zero) return;  // leaves holes of sparse memory alone
  std::memset(at(index), 0, page_bytes);
  table_.set(index, zero);
}

Status Image::write_delta(PageIndex index, std::span<const std::byte> delta) {
  std::byte* const page = at(index);
  if (auto ok = apply_delta(delta, page); !ok) return ok;
  table_.set(index, table_.hasher()(page));
  return {};
}

void Image::recompute(PageIndex first, PageIndex count) {
  for (PageIndex i = first; count > 0; ++i, --count) table_.set(i, table_.hasher()(at(i)));
}

std::vector<PageIndex> Image::differing(PageIndex first, std::span<const Hash128> expected,
                                        std::size_t limit) const {
  REMUS_ASSERT("pre", first <= pages() && expected.size() <= pages() - first,
               "pages to compare lie within the image");
  std::vector<PageIndex> found;
  for (std::size_t i = 0; i < expected.size() && found.size() < limit; ++i) {
    const auto index = first + static_cast<PageIndex>(i);
    if (expected[i] == unknown_hash || table_.hasher()(at(index)) != expected[i]) found.push_back(index);
  }
  return found;
}

}  // namespace remus::checkpoint
