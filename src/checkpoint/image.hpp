// The backup's image: the guest's memory on the backup, which only whole committed epochs are written to, and
// a hash of every page of it, kept as pages are written.
//
// Does not own the memory (hypervisor::Standby does). Reading a page of sparse shared memory makes it
// resident, so a fresh image is taken as zero by assume_zero(), not by looking.
#pragma once

#include <span>
#include <vector>

#include "base/error.hpp"
#include "checkpoint/layout.hpp"
#include "checkpoint/page_hash_table.hpp"

namespace remus::checkpoint {

class Image final {
 public:
  /// `blocks`: one writable span per block of the layout, in its order and of its size. All hashes are
  /// unknown at first. Errors: invalid, if blocks and layout disagree; exhausted.
  [[nodiscard]] static Result<Image> create(Layout layout, std::vector<std::span<std::byte>> blocks,
                                            std::uint64_t seed = 0);

  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] PageIndex pages() const noexcept { return table_.pages(); }
  /// The page's page_bytes bytes. Precondition: index < pages().
  [[nodiscard]] std::span<const std::byte> page(PageIndex index) const;

  void write(PageIndex index, const std::byte* data);
  void write_zero(PageIndex index);
  /// Errors: corrupt (a malformed delta); the page is then unchanged.
  [[nodiscard]] Status write_delta(PageIndex index, std::span<const std::byte> delta);

  /// What the image is known to hold.
  [[nodiscard]] const PageHashTable& table() const noexcept { return table_; }
  [[nodiscard]] const Hash128& hash() const noexcept { return table_.image_hash(); }

  void assume_zero() { table_.assume_zero(); }
  /// Takes the hashes of `count` pages from memory itself; call for one stretch after another on a large
  /// image.
  void recompute(PageIndex first, PageIndex count);
  void recompute() { recompute(0, pages()); }
  /// Another seed for the hashes; all are unknown until recompute() or assume_zero().
  void reseed(std::uint64_t seed) { table_.reseed(seed); }

  /// `remus verify`: pages whose real memory does not hash to what is told, at most `limit` of them. Both
  /// made with the seed of table(). Unknown hashes never agree. Precondition: the range lies within the
  /// image.
  [[nodiscard]] std::vector<PageIndex> differing(PageIndex first, std::span<const Hash128> expected,
                                                 std::size_t limit) const;
  /// The same against a whole table. Precondition: as many pages.
  [[nodiscard]] std::vector<PageIndex> differing(const PageHashTable& expected, std::size_t limit) const {
    return differing(0, expected.all(), limit);
  }

 private:
  Image(Layout layout, std::vector<std::span<std::byte>> blocks, PageHashTable table) noexcept
      : layout_{std::move(layout)}, blocks_{std::move(blocks)}, table_{std::move(table)} {}
  [[nodiscard]] std::byte* at(PageIndex index) const;

  Layout layout_;
  std::vector<std::span<std::byte>> blocks_;
  PageHashTable table_;
};

}  // namespace remus::checkpoint
