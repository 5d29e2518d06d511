// The pages a benchmark encodes: what a guest's dirty memory looks like, in four kinds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "checkpoint/layout.hpp"

namespace remus::bench {

enum class Mix {
  text,    ///< logs and documents; each epoch, pages are written anew
  sparse,  ///< pointers and counters; each epoch, a few words of a page change
  random,  ///< encrypted or packed data, written anew
  zero,    ///< pages a guest clears before use
  mixed,   ///< 10 % text, 70 % sparse, 10 % random, 10 % zero
};

[[nodiscard]] std::string_view name(Mix mix);

/// Two epochs of the same pages: what the backup holds, and what it is sent.
struct Pages {
  std::vector<std::byte> before{};
  std::vector<std::byte> after{};
  [[nodiscard]] checkpoint::PageIndex count() const {
    return static_cast<checkpoint::PageIndex>(before.size() / checkpoint::page_bytes);
  }
};

[[nodiscard]] Pages make_pages(Mix mix, checkpoint::PageIndex count, std::uint64_t seed);

}  // namespace remus::bench
