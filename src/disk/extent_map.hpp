// What a portion of a guest's writes leaves behind: which ranges hold which data, which read as zeros.
//
// Ranges never overlap: a later write cuts out of the earlier ones what it replaces, so that a block written ten
// times is one entry, sent once. Neighbours of one kind that belong together are joined: a sequential write is one
// entry however small its requests. Nodes come from a pool, so that a disk under load allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory_resource>

namespace remus::disk {

/// What happened to a range. The values are on the wire.
enum class WriteKind : std::uint8_t {
  data = 0,
  zero = 1,        ///< reads as zeros, stays allocated
  zero_unmap = 2,  ///< reads as zeros, need not stay allocated
  trim = 3,        ///< the guest no longer needs it; a replica reads zeros
};

struct Extent {
  std::uint64_t offset{};  ///< bytes, on the disk
  std::uint64_t bytes{};
  WriteKind kind{};
  std::uint64_t place{};  ///< data: where it is kept; `bytes` follow each other there
  bool operator==(const Extent&) const = default;
};

class ExtentMap final {
 public:
  explicit ExtentMap(std::pmr::memory_resource* memory) : extents_{memory} {}

  /// The latest word on its range.
  void put(const Extent& extent);
  /// The place of a range that is kept in one piece. False: it is not.
  [[nodiscard]] bool find(std::uint64_t offset, std::uint64_t bytes, std::uint64_t& place) const;
  /// In the order of their offsets.
  template <typename Visitor>
  void visit(Visitor&& visitor) const {
    for (const auto& [offset, value] : extents_)
      visitor(Extent{offset, value.end - offset, value.kind, value.place});
  }
  template <typename Visitor>
  void visit_within(std::uint64_t offset, std::uint64_t bytes, Visitor&& visitor) const {
    const std::uint64_t end = offset + bytes;
    auto at = first_reaching(offset);
    for (; at != extents_.end() && at->first < end; ++at)
      visitor(Extent{at->first, at->second.end - at->first, at->second.kind, at->second.place});
  }

  [[nodiscard]] std::size_t size() const noexcept { return extents_.size(); }
  [[nodiscard]] bool empty() const noexcept { return extents_.empty(); }
  void clear() noexcept { extents_.clear(); }

 private:
  struct Value {
    std::uint64_t end;
    std::uint64_t place;
    WriteKind kind;
  };
  using Map = std::pmr::map<std::uint64_t, Value>;

  /// The first extent that ends after `offset`.
  [[nodiscard]] Map::const_iterator first_reaching(std::uint64_t offset) const;
  Map::iterator cut(std::uint64_t offset, std::uint64_t end);
  [[nodiscard]] static bool joins(const Value& left, std::uint64_t left_offset, const Value& right) noexcept;

  Map extents_;
};

}  // namespace remus::disk
