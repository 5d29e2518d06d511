// Contents of pages as the backup holds them: what a delta is made against.
//
// Bounded: the whole guest would be a second guest. Pages written again and again are the ones a delta pays
// for, so a small set-associative cache with least-recently-used replacement holds most of them. Memory is
// reserved at construction and touched as pages arrive; nothing is allocated afterwards.
#pragma once

#include "base/error.hpp"
#include "checkpoint/layout.hpp"
#include "checkpoint/reservation.hpp"

namespace remus::checkpoint {

class PageCache final {
 public:
  /// `capacity_pages` 0: no cache, every lookup misses. Rounded up to whole sets. Errors: exhausted.
  [[nodiscard]] static Result<PageCache> create(std::size_t capacity_pages);

  /// The page's content, or null. Valid until the next store(), drop() or clear(). Counts as a use.
  [[nodiscard]] const std::byte* lookup(PageIndex index) noexcept;
  /// Copies page_bytes from `data`; may evict another page of the set.
  void store(PageIndex index, const std::byte* data) noexcept;
  void drop(PageIndex index) noexcept;
  void clear() noexcept;  ///< and gives the memory back

  [[nodiscard]] std::size_t capacity_pages() const noexcept { return sets_ * ways; }

 private:
  static constexpr std::size_t ways = 8;
  struct Tag {
    std::uint32_t used{};  ///< when last used; 0: the way is empty
    PageIndex index{};
  };

  PageCache(std::size_t sets, Reservation tags, Reservation pages) noexcept
      : sets_{sets}, tags_{std::move(tags)}, pages_{std::move(pages)} {}
  [[nodiscard]] Tag* set_of(PageIndex index) const noexcept;
  [[nodiscard]] Tag* find(PageIndex index) const noexcept;
  [[nodiscard]] std::byte* content(const Tag* tag) const noexcept;
  [[nodiscard]] std::uint32_t tick() noexcept;

  std::size_t sets_;
  Reservation tags_;
  Reservation pages_;
  std::uint32_t clock_{0};
};

}  // namespace remus::checkpoint
