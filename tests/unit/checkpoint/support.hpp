// Pages to test with, from a seed: a failing test prints its seed by SCOPED_TRACE.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "checkpoint/batch_decoder.hpp"
#include "checkpoint/batch_encoder.hpp"

namespace remus::checkpoint::test {

/// What a broken invariant throws in a test that expects it; for set_assert_handler().
struct Violation {};
inline void throw_violation(std::string_view, std::string_view, const char*, int) {
  throw Violation{};
}

using Page = std::array<std::byte, page_bytes>;

class Random final {
 public:
  explicit Random(std::uint64_t seed) : engine_{seed} {}
  /// In [0, below).
  std::uint64_t operator()(std::uint64_t below) { return below == 0 ? 0 : engine_() % below; }
  std::byte byte() { return static_cast<std::byte>(engine_()); }

  void fill(std::span<std::byte> out) {
    for (auto& each : out) each = byte();
  }
  void fill_text(std::span<std::byte> out) {
    static constexpr std::array<std::string_view, 8> words{"the ",  "guest ", "runs on ", "epoch ",
                                                           "page ", "0x7f3a", "\n",       "commit; "};
    for (std::size_t at = 0; at < out.size();) {
      const auto word = words[(*this)(words.size())];
      const auto n = std::min(word.size(), out.size() - at);
      std::memcpy(out.data() + at, word.data(), n);
      at += n;
    }
  }
  /// A few words of the page get new values.
  void touch(std::span<std::byte> page, std::uint64_t words) {
    for (; words > 0; --words) {
      const auto at = (*this)(page.size() / 8) * 8;
      const auto bytes = 1 + (*this)(8);
      for (std::size_t i = 0; i < bytes; ++i) page[at + i] = byte();
    }
  }

 private:
  std::mt19937_64 engine_;
};

inline Layout two_blocks(PageIndex first, PageIndex second) {
  Layout layout;
  layout.add("ram", std::uint64_t{first} * page_bytes);
  layout.add("vram", std::uint64_t{second} * page_bytes);
  return layout;
}

/// Memory of a layout's blocks, not contiguous.
struct Memory {
  explicit Memory(const Layout& layout) {
    for (const auto& block : layout.blocks) blocks.emplace_back(block.bytes);
  }
  [[nodiscard]] std::vector<std::span<std::byte>> spans() { return {blocks.begin(), blocks.end()}; }
  [[nodiscard]] std::span<std::byte> page(const Layout& layout, PageIndex index) {
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const auto& block = layout.blocks[i];
      if (index >= block.first_page && index - block.first_page < block.pages()) {
        return std::span{blocks[i]}.subspan(std::size_t{index - block.first_page} * page_bytes, page_bytes);
      }
    }
    throw std::out_of_range{"page outside the layout"};
  }
  bool operator==(const Memory&) const = default;

  std::vector<std::vector<std::byte>> blocks{};
};

/// Keeps each batch as a vector of its own.
class Collected final : public BatchOutput {
 public:
  [[nodiscard]] std::span<std::byte> batch_space() override { return space_; }
  void batch_ready(std::size_t bytes) override {
    batches.emplace_back(space_.begin(), space_.begin() + static_cast<std::ptrdiff_t>(bytes));
  }
  std::vector<std::vector<std::byte>> batches{};

 private:
  std::vector<std::byte> space_ = std::vector<std::byte>(batch_payload_bytes_max);
};

/// Primary and backup of a small guest, without anything between them.
struct Pair {
  explicit Pair(Layout of, std::size_t cache_pages = 1024, EncoderSettings settings = {},
                std::uint64_t seed = 7)
      : layout{std::move(of)},
        guest{layout},
        copy{layout},
        table{PageHashTable::create(layout.pages(), seed).value()},
        cache{PageCache::create(cache_pages).value()},
        image{Image::create(layout, copy.spans(), seed).value()},
        encoder{layout, table, cache, settings},
        decoder{layout} {}

  void both_fresh() {
    table.assume_zero();
    image.assume_zero();
  }
  void add(PageIndex index) { encoder.add(index, guest.page(layout, index).data(), out); }
  /// Ends the epoch; everything encoded so far reaches the image.
  void deliver() {
    encoder.flush(out);
    for (const auto& batch : out.batches) {
      const auto valid = decoder.validate(batch);
      ASSERT_TRUE(valid) << valid.error().text();
      const auto applied = decoder.apply(batch, image);
      ASSERT_TRUE(applied) << applied.error().text();
    }
    out.batches.clear();
  }

  Layout layout;
  Memory guest;
  Memory copy;
  PageHashTable table;
  PageCache cache;
  Image image;
  BatchEncoder encoder;
  BatchDecoder decoder;
  Collected out{};
};

}  // namespace remus::checkpoint::test
