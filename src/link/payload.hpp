// Bytes on their way to or from the link, shared instead of copied.
//
// A batch of pages is encoded once into a pooled buffer and must reach the TLS stream without another copy; a
// received frame must stay whole while its epoch is held. So a payload is a view plus whatever keeps the
// memory alive: a vector, a pool's buffer (give it a shared_ptr whose deleter returns the buffer), or nothing
// for static memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace remus::link {

class Payload final {
 public:
  Payload() noexcept = default;
  /// `owner` keeps `bytes` alive and unchanged until the last copy of this payload is gone.
  Payload(std::shared_ptr<const void> owner, std::span<const std::byte> bytes) noexcept
      : owner_{std::move(owner)}, bytes_{bytes} {}

  [[nodiscard]] static Payload own(std::vector<std::byte> bytes) {
    auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
    const std::span<const std::byte> view{*owner};
    return Payload{std::move(owner), view};
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }
  /// The part from `offset` (≤ size()) to the end; shares the memory.
  [[nodiscard]] Payload from(std::size_t offset) const { return Payload{owner_, bytes_.subspan(offset)}; }

  [[nodiscard]] friend bool operator==(const Payload& a, const Payload& b) noexcept {
    return std::ranges::equal(a.bytes_, b.bytes_);
  }

 private:
  std::shared_ptr<const void> owner_{};
  std::span<const std::byte> bytes_{};
};

}  // namespace remus::link
