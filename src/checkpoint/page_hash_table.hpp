// A hash per page of the guest: on the primary, of what the backup holds (or will, once it has applied
// everything encoded so far); on the backup, of its image. 16 bytes a page. Keeps the image hash up to date.
#pragma once

#include <span>

#include "base/error.hpp"
#include "checkpoint/page_hash.hpp"
#include "checkpoint/reservation.hpp"

namespace remus::checkpoint {

class PageHashTable final {
 public:
  /// All unknown. `seed`: see PageHasher. Errors: exhausted.
  [[nodiscard]] static Result<PageHashTable> create(PageIndex pages, std::uint64_t seed = 0);

  [[nodiscard]] PageIndex pages() const noexcept { return pages_; }
  [[nodiscard]] const PageHasher& hasher() const noexcept { return hasher_; }
  /// Precondition of both: index < pages().
  [[nodiscard]] const Hash128& get(PageIndex index) const noexcept;
  void set(PageIndex index, const Hash128& hash) noexcept;
  [[nodiscard]] std::span<const Hash128> all() const noexcept { return {hashes(), pages_}; }

  /// Of the whole image; meaningful for comparison once no page is unknown.
  [[nodiscard]] const Hash128& image_hash() const noexcept { return image_.value(); }

  void forget();       ///< every page unknown
  void assume_zero();  ///< every page zero: the other side's image is fresh
  /// Forgets everything and hashes with another seed from now on.
  void reseed(std::uint64_t seed);

 private:
  PageHashTable(PageIndex pages, std::uint64_t seed, Reservation memory) noexcept
      : pages_{pages}, hasher_{seed}, memory_{std::move(memory)} {}
  [[nodiscard]] Hash128* hashes() const noexcept;

  PageIndex pages_;
  PageHasher hasher_;
  Reservation memory_;
  ImageHash image_{};
};

}  // namespace remus::checkpoint
