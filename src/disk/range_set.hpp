// A set of byte ranges, kept joined and sorted.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>

namespace remus::disk {

class RangeSet final {
 public:
  void add(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return;
    auto at = ranges_.upper_bound(begin);
    if (at != ranges_.begin() && std::prev(at)->second >= begin) --at;
    while (at != ranges_.end() && at->first <= end) {
      begin = at->first < begin ? at->first : begin;
      end = at->second > end ? at->second : end;
      at = ranges_.erase(at);
    }
    ranges_.emplace_hint(at, begin, end);
  }

  /// Calls visitor(begin, end) for what of [begin, end) is not in the set.
  template <typename Visitor>
  void visit_gaps(std::uint64_t begin, std::uint64_t end, Visitor&& visitor) const {
    auto at = ranges_.upper_bound(begin);
    if (at != ranges_.begin() && std::prev(at)->second > begin) --at;
    for (; at != ranges_.end() && at->first < end; ++at) {
      if (at->first > begin) visitor(begin, at->first);
      begin = at->second;
    }
    if (begin < end) visitor(begin, end);
  }

  [[nodiscard]] bool empty() const noexcept { return ranges_.empty(); }

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_{};  ///< begin → end
};

}  // namespace remus::disk
