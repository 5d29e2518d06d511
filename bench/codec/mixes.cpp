#include "mixes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

namespace remus::bench {
namespace {

using checkpoint::page_bytes;
using Page = std::span<std::byte>;
using Engine = std::mt19937_64;

void fill_random(Engine& random, Page page) {
  for (std::size_t at = 0; at < page.size(); at += 8) {
    const std::uint64_t value = random();
    std::memcpy(page.data() + at, &value, sizeof(value));
  }
}

/// Words of a made-up vocabulary by Zipf's law, with numbers in between: a log.
void fill_text(Engine& random, Page page) {
  static const auto vocabulary = [] {
    Engine letters{1};
    std::vector<std::string> words(4000);
    for (auto& word : words) {
      word.resize(2 + letters() % 9);
      for (auto& letter : word) letter = static_cast<char>('a' + letters() % 26);
      word += ' ';
    }
    return words;
  }();
  for (std::size_t at = 0; at < page.size();) {
    const double uniform = std::generate_canonical<double, 53>(random);
    const auto rank = static_cast<std::size_t>(std::pow(static_cast<double>(vocabulary.size()), uniform)) - 1;
    const std::string word = random() % 8 == 0 ? std::to_string(random() % 100000) + "\n" : vocabulary[rank];
    const std::size_t n = std::min(word.size(), page.size() - at);
    std::memcpy(page.data() + at, word.data(), n);
    at += n;
  }
}

/// Kernel pointers into a heap of a gigabyte, lengths, flags and empty words.
void fill_pointers(Engine& random, Page page) {
  for (std::size_t at = 0; at < page.size(); at += 8) {
    std::uint64_t value = 0;
    switch (random() % 4) {
      case 0: value = 0xffff888000000000ULL + (random() % (1ULL << 30)) / 64 * 64; break;
      case 1: value = random() % 4096; break;
      case 2: value = random() % 1000000; break;
      default: break;
    }
    std::memcpy(page.data() + at, &value, sizeof(value));
  }
}

/// 1 to 24 words get a new pointer or count on.
void touch(Engine& random, Page page) {
  for (auto words = 1 + random() % 24; words > 0; --words) {
    const std::size_t at = random() % (page.size() / 8) * 8;
    std::uint64_t value = 0;
    std::memcpy(&value, page.data() + at, sizeof(value));
    value = value < 1000000 ? value + 1 + random() % 3
                            : 0xffff888000000000ULL + (random() % (1ULL << 30)) / 64 * 64;
    std::memcpy(page.data() + at, &value, sizeof(value));
  }
}

void make_page(Mix mix, Engine& random, Page before, Page after) {
  switch (mix) {
    case Mix::text:
      fill_text(random, before);
      fill_text(random, after);
      break;
    case Mix::sparse:
      fill_pointers(random, before);
      std::ranges::copy(before, after.begin());
      touch(random, after);
      break;
    case Mix::random:
      fill_random(random, before);
      fill_random(random, after);
      break;
    case Mix::zero: fill_pointers(random, before); break;  // `after` is zero already
    case Mix::mixed: {
      static constexpr std::array shares{Mix::text,   Mix::sparse, Mix::sparse, Mix::sparse, Mix::sparse,
                                         Mix::sparse, Mix::sparse, Mix::sparse, Mix::random, Mix::zero};
      make_page(shares[random() % shares.size()], random, before, after);
    }
  }
}

}  // namespace

std::string_view name(Mix mix) {
  static constexpr std::array<std::string_view, 5> names{"text", "sparse", "random", "zero", "mixed"};
  return names[static_cast<std::size_t>(mix)];
}

Pages make_pages(Mix mix, checkpoint::PageIndex count, std::uint64_t seed) {
  Engine random{seed};
  const std::size_t bytes = std::size_t{count} * page_bytes;
  Pages pages{std::vector<std::byte>(bytes), std::vector<std::byte>(bytes)};
  for (std::size_t at = 0; at < bytes; at += page_bytes) {
    make_page(mix, random, std::span{pages.before}.subspan(at, page_bytes),
              std::span{pages.after}.subspan(at, page_bytes));
  }
  return pages;
}

}  // namespace remus::bench
