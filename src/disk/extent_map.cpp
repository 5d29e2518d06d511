#include "disk/extent_map.hpp"

#include <iterator>

#include "base/assert.hpp"

namespace remus::disk {

ExtentMap::Map::const_iterator ExtentMap::first_reaching(std::uint64_t offset) const {
  auto at = extents_.upper_bound(offset);
  if (at != extents_.begin() && std::prev(at)->second.end > offset) --at;
  return at;
}

/// Makes [offset, end) free. Returns the first extent behind it.
ExtentMap::Map::iterator ExtentMap::cut(std::uint64_t offset, std::uint64_t end) {
  auto at = extents_.upper_bound(offset);
  if (at != extents_.begin() && std::prev(at)->second.end > offset) --at;
  while (at != extents_.end() && at->first < end) {
    const std::uint64_t start = at->first;
    const Value old = at->second;
    if (old.end > end) {  // its tail stays
      const std::uint64_t place = old.kind == WriteKind::data ? old.place + (end - start) : 0;
      extents_.emplace_hint(std::next(at), end, Value{old.end, place, old.kind});
    }
    if (start < offset) {  // its head stays
      at->second.end = offset;
      ++at;
    } else {
      at = extents_.erase(at);
    }
  }
  return at;
}

bool ExtentMap::joins(const Value& left, std::uint64_t left_offset, const Value& right) noexcept {
  return left.kind == right.kind &&
         (left.kind != WriteKind::data || left.place + (left.end - left_offset) == right.place);
}

void ExtentMap::put(const Extent& extent) {
  REMUS_ASSERT("pre", extent.bytes != 0 && extent.offset + extent.bytes > extent.offset,
               "an extent is not empty and does not wrap");
  std::uint64_t offset = extent.offset;
  Value value{extent.offset + extent.bytes, extent.place, extent.kind};
  auto behind = cut(offset, value.end);
  if (behind != extents_.end() && behind->first == value.end && joins(value, offset, behind->second)) {
    value.end = behind->second.end;
    behind = extents_.erase(behind);
  }
  if (behind != extents_.begin()) {
    const auto before = std::prev(behind);
    if (before->second.end == offset && joins(before->second, before->first, value)) {
      before->second.end = value.end;
      return;
    }
  }
  extents_.emplace_hint(behind, offset, value);
}

bool ExtentMap::find(std::uint64_t offset, std::uint64_t bytes, std::uint64_t& place) const {
  const auto at = first_reaching(offset);
  if (at == extents_.end() || at->first > offset || at->second.end < offset + bytes ||
      at->second.kind != WriteKind::data)
    return false;
  place = at->second.place + (offset - at->first);
  return true;
}

}  // namespace remus::disk
